"""What clients ask of the queue, and what keeps a run out of it."""

from typing import Any

import pytest

from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control, problems

pytestmark = pytest.mark.anyio

ORGANIZATION = "/api/v2/organizations/default"
QUEUE = f"{ORGANIZATION}/runs/queue"


async def ready(api: Client, name: str) -> str:
    """A workspace with a configuration."""
    made = await factories.workspace(api, name)
    await factories.configuration(api, made)
    return made


async def capacity(client: Client) -> tuple[int, int]:
    shown = (await client.get(f"{ORGANIZATION}/capacity"))["data"]
    assert (shown["type"], shown["id"]) == ("organization-capacity", "default")
    return shown["attributes"]["pending"], shown["attributes"]["running"]


async def queued(client: Client) -> list[tuple[str, str, int]]:
    """Id, status and position of the runs in the queue."""
    found = (await client.get(QUEUE))["data"]
    assert {run["type"] for run in found} <= {"runs"}
    return [
        (run["id"], run["attributes"]["status"], run["attributes"]["position-in-queue"])
        for run in found
    ]


async def positions(client: Client, *runs: str) -> list[int]:
    shown = [(await client.get(f"/api/v2/runs/{run}"))["data"]["attributes"] for run in runs]
    return [one["position-in-queue"] for one in shown]


async def planning(agent: Agent, key: str = "k") -> dict[str, Any]:
    work = await agent.claim(key, "plan")
    assert work is not None
    assert (await agent.report(work, "planning")).status_code == 200
    return work


async def refused(api: Client, workspace: str, **given: Any) -> str:
    """Why a run is not made."""
    body = {"data": factories.new_run(workspace, **given)}
    answer = await api.call("POST", "/api/v2/runs", json=body)
    assert answer.status_code == 422, answer.text
    assert (await api.get(f"/api/v2/workspaces/{workspace}/runs"))["data"] == []
    detail: str = problems(answer)[0]["detail"]
    return detail


async def test_capacity_counts_what_waits_and_what_runs(
    api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    assert await capacity(api) == (0, 0)
    first = await factories.run(api, workspace)
    assert await capacity(api) == (1, 0)
    await factories.run(api, workspace)
    assert await capacity(api) == (2, 0)
    await factories.plans(listener)
    assert await capacity(api) == (1, 0)
    await api.post(f"/api/v2/runs/{first}/actions/confirm")
    assert await capacity(api) == (2, 0)
    work = await factories.starts_apply(listener)
    assert await capacity(api) == (1, 1)
    await factories.run(api, await ready(api, "other"))
    await planning(foreign)
    assert await capacity(api) == (1, 2)
    assert (await listener.report(work, "errored")).status_code == 200
    assert await capacity(api) == (1, 1)


async def test_the_queue_shows_open_runs_oldest_first(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    assert await queued(api) == []
    first = await factories.run(api, workspace)
    second = await factories.run(api, workspace)
    third = await factories.run(api, await ready(api, "other"))
    await planning(listener)
    assert await queued(api) == [
        (first, "planning", 0),
        (second, "pending", 1),
        (third, "plan_queued", 0),
    ]
    shown = (await api.get(QUEUE, params={"page[size]": "1", "page[number]": "2"}))["data"]
    assert [run["id"] for run in shown] == [second]
    assert shown[0]["relationships"]["workspace"]["data"]["id"] == workspace
    assert first in shown[0]["attributes"]["waiting-on"]
    for run in (second, third):
        await api.post(f"/api/v2/runs/{run}/actions/cancel")
    assert await queued(api) == [(first, "planning", 0)]


async def test_a_planned_run_waits_for_a_person_and_not_in_the_queue(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener)
    assert await queued(api) == []
    await api.post(f"/api/v2/runs/{run}/actions/confirm")
    assert await queued(api) == [(run, "apply_queued", 0)]


async def test_the_queue_shows_nobody_the_runs_of_others(
    as_: As, api: Client, pool: str, workspace: str
) -> None:
    await factories.run(api, workspace)
    stranger = await as_("stranger")
    mine = await factories.run(stranger, await ready(stranger, "mine"))
    assert [run for run, _, _ in await queued(stranger)] == [mine]
    assert len(await queued(await as_("reader"))) == 2
    for path in (QUEUE, f"{ORGANIZATION}/capacity"):
        assert (await (await as_("nobody")).call("GET", path)).status_code == 401
        elsewhere = path.replace("default", "elsewhere")
        assert (await api.call("GET", elsewhere)).status_code == 404


async def test_a_position_is_how_many_stand_before(
    api: Client, listener: Agent, workspace: str
) -> None:
    runs = [await factories.run(api, workspace) for _ in range(3)]
    beside = await factories.run(api, workspace, **{"plan-only": True})
    other = await factories.run(api, await ready(api, "other"))
    assert await positions(api, *runs, beside, other) == [0, 1, 2, 0, 0]
    await factories.plans(listener)
    assert await positions(api, *runs) == [0, 1, 2]
    await api.post(f"/api/v2/runs/{runs[1]}/actions/cancel")
    assert await positions(api, *runs) == [0, 0, 1]
    await api.post(f"/api/v2/runs/{runs[0]}/actions/discard")
    assert await positions(api, *runs) == [0, 0, 0]


async def test_a_pool_counts_the_agents_that_live(
    control: Control, api: Client, pool: str, listener: Agent, foreign: Agent
) -> None:
    async def counts() -> list[int]:
        one = (await api.get(f"/api/v2/agent-pools/{pool}"))["data"]
        listed = (await api.get(f"{ORGANIZATION}/agent-pools"))["data"]
        assert [each["attributes"]["name"] for each in listed] == ["other", "pool"]
        return [each["attributes"]["agent-count"] for each in (one, *listed)]

    await factories.pool(api, "other")
    assert await counts() == [0, 0, 0]
    await listener.beat()
    await foreign.beat()
    assert await counts() == [2, 0, 2]
    control.clock.move(60)
    await foreign.beat()
    control.clock.move(60)
    assert await counts() == [1, 0, 1]
    gone = f"/api/v2/agent-pools/{pool}/listeners/{foreign.id}"
    assert (await api.call("DELETE", gone)).status_code == 204
    assert await counts() == [0, 0, 0]


@pytest.mark.parametrize("kind", ["task-stages", "run-events"])
async def test_a_run_has_no_stages_and_no_events_to_tell(
    as_: As, api: Client, pool: str, workspace: str, kind: str
) -> None:
    run = await factories.run(api, workspace)
    path = f"/api/v2/runs/{run}/{kind}"
    assert await api.get(path) == {"data": []}
    related = (await api.get(f"/api/v2/runs/{run}"))["data"]["relationships"]
    assert related[kind] == {"data": []}
    assert (await (await as_("stranger")).call("GET", path)).status_code == 404
    missing = await api.call("GET", f"/api/v2/runs/run-1111111111111111/{kind}")
    assert missing.status_code == 404


async def test_a_workspace_may_refuse_to_be_destroyed(api: Client, pool: str) -> None:
    kept = await factories.workspace(api, "kept", **{"allow-destroy-plan": False})
    await factories.configuration(api, kept)
    assert "does not allow destroy" in await refused(api, kept, **{"is-destroy": True})
    await factories.run(api, kept)


async def test_a_workspace_that_runs_locally_has_no_runs(api: Client, pool: str) -> None:
    local = await factories.workspace(api, "local", **{"execution-mode": "local"})
    await factories.configuration(api, local)
    assert "local" in await refused(api, local)
    assert "local" in await refused(api, local, **{"plan-only": True})
    await factories.configuration(api, local, **{"auto-queue-runs": True})
    assert (await api.get(f"/api/v2/workspaces/{local}/runs"))["data"] == []


async def test_the_queue_counts_and_pages_only_what_its_reader_may_see(
    as_: As, api: Client, pool: str, workspace: str
) -> None:
    await factories.run(api, workspace)
    stranger = await as_("stranger")
    mine = await factories.run(stranger, await ready(stranger, "mine"))
    shown = await stranger.get(QUEUE, params={"page[size]": "1"})
    assert shown["meta"]["pagination"]["total-count"] == 1
    assert [run["id"] for run in shown["data"]] == [mine]
