"""What a read of one resource costs the database, with its credential and scope in memory."""

import pytest

from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.hearing import until
from tests.kit.statement_count import counted

pytestmark = pytest.mark.anyio


async def statements(control: Control, client: Client, path: str) -> list[str]:
    """What is sent for a read, once who asks and where it is are known."""
    echo = control.services.caches.echo
    await client.get(path)
    await until(echo.fresh)
    await client.get(path)
    async with counted() as sent:
        await client.get(path)
    return sent.statements


@pytest.fixture
async def run(api: Client, workspace: str, listener: Agent) -> str:
    """A run that was applied."""
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener, "plan")
    work = await factories.starts_apply(listener, "apply")
    await listener.send(work, "state", factories.state(), "final=true")
    await listener.report(work, "applied")
    return run


async def test_a_resource_costs_what_it_is_made_of(
    control: Control, api: Client, workspace: str, run: str, pool: str
) -> None:
    shown = (await api.get(f"/api/v2/runs/{run}"))["data"]["relationships"]
    ids = {name: one["data"]["id"] for name, one in shown.items() if one.get("data")}
    made = {
        "ping": 0,
        "account/details": 1,
        f"workspaces/{workspace}": 1,
        "organizations/default/workspaces/app": 2,
        f"runs/{run}": 2,
        f"plans/{ids['plan']}": 1,
        f"applies/{ids['apply']}": 1,
        f"configuration-versions/{ids['configuration-version']}": 1,
        f"workspaces/{workspace}/current-state-version": 3,
        f"agent-pools/{pool}": 2,
    }
    for path, at_most in made.items():
        sent = await statements(control, api, f"/api/v2/{path}")
        assert len(sent) <= at_most, (path, sent)


async def test_a_run_that_waits_costs_what_it_waits_for(
    control: Control, api: Client, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    assert len(await statements(control, api, f"/api/v2/runs/{run}")) <= 4


async def test_a_beat_is_one_statement(control: Control, listener: Agent) -> None:
    await listener.beat()
    await until(control.services.caches.echo.fresh)
    await listener.beat()
    async with counted() as sent:
        await listener.beat()
    assert len(sent.statements) == 1, sent
