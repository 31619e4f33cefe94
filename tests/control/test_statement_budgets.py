"""How many statements a request may cost, counted on PostgreSQL.

What begins and ends a transaction or a savepoint is not counted: only what reads or writes. Each
request is made a few times, and the least counts: a job of the server may send something meanwhile.
"""

import pytest
from msgspec import Struct

from tests.kit import budgets, factories
from tests.kit.budgets import Prepare, Scene
from tests.kit.control import Agent, Client, Control
from tests.kit.statement_count import counted

pytestmark = pytest.mark.anyio

_TIMES = 2


class Budget(Struct, frozen=True):
    """What a request may cost."""

    name: str
    prepare: Prepare
    at_most: int


def read(name: str, path: str) -> Budget:
    return Budget(f"read {name}", budgets.gets(f"/api/v2/{path}"), 3)


def page(name: str, path: str) -> Budget:
    return Budget(f"page of {name}", budgets.gets(f"/api/v2/{path}"), 4)


_WORKSPACE, _DEFAULT = "workspaces/{workspace}", "organizations/default"
BUDGETS = [
    Budget("ping", budgets.ping, 0),
    Budget("discovery", budgets.discovery, 0),
    Budget("health", budgets.health, 0),
    read("run", "runs/{run}"),
    read("plan", "plans/{plan}"),
    read("apply", "applies/{apply}"),
    read("workspace", _WORKSPACE),
    read("workspace by name", _DEFAULT + "/workspaces/{name}"),
    read("current state version", f"{_WORKSPACE}/current-state-version"),
    read("state version", "state-versions/{version}"),
    read("configuration version", "configuration-versions/{configuration}"),
    read("pool", "agent-pools/{pool}"),
    read("organization", _DEFAULT),
    read("account", "account/details"),
    page("workspaces", f"{_DEFAULT}/workspaces"),
    page("runs", f"{_WORKSPACE}/runs"),
    page("variables", f"{_WORKSPACE}/vars"),
    page("configuration versions", f"{_WORKSPACE}/configuration-versions"),
    page(
        "state versions",
        "state-versions?filter[workspace][name]={name}&filter[organization][name]=default",
    ),
    page("pools", f"{_DEFAULT}/agent-pools"),
    page("listeners", "agent-pools/{pool}/listeners"),
    page("queue", f"{_DEFAULT}/runs/queue"),
    Budget("run create", budgets.run_create, 12),
    Budget("confirm", budgets.confirm, 10),
    Budget("report planning", budgets.reports("planning"), 10),
    Budget("report planned", budgets.reports("planned"), 10),
    Budget("report applying", budgets.reports("applying"), 10),
    Budget("report applied", budgets.reports("applied"), 10),
    Budget("heartbeat", budgets.heartbeat, 2),
    Budget("runs/next without work", budgets.next_without_work, 2),
    Budget("runs/next with work", budgets.next_with_work, 6),
    Budget("log chunk", budgets.log_chunk, 3),
    Budget("state upload by an agent", budgets.state_upload, 8),
]


async def scene(control: Control, api: Client, agent: Agent, name: str) -> Scene:
    """What a try starts from; none has to do with another."""
    workspace = await factories.workspace(api, name)
    configuration = await factories.configuration(api, workspace)
    await agent.beat()
    ids = {"name": name, "workspace": workspace, "configuration": configuration, "pool": agent.pool}
    return Scene(control=control, api=api, agent=agent, ids=ids)


@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.name)
async def test_a_request_keeps_its_budget(
    control: Control, api: Client, listener: Agent, budget: Budget
) -> None:
    least: list[str] | None = None
    for number in range(_TIMES):
        send = await budget.prepare(await scene(control, api, listener, f"app{number}"))
        async with counted() as sent:
            await send()
        if least is None or len(sent.statements) < len(least):
            least = sent.statements
    assert least is not None
    told = "\n".join([f"{len(least)} statements:", *(" ".join(text.split()) for text in least)])
    assert len(least) <= budget.at_most, told
