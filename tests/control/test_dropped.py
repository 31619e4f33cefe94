"""An agent that was started again says what it does not run any more; that goes on at once."""

from typing import Any

import pytest
import structlog

from terrapod_control_plane.kernel import db
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio


async def drops(agent: Agent, work: dict[str, Any], fence: int = 0) -> Any:
    named = {"phase_id": work["phase_id"], "fence": work["fence"] + fence}
    answer = await agent.call("POST", f"{agent.at}/heartbeat", json={"dropped": [named]})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def rows() -> list[dict[str, Any]]:
    found = [*await db.rows("select * from phases order by id")]
    return list(map(dict, [*found, *await db.rows("select * from runs order by id")]))


@pytest.mark.parametrize("started", [False, True])
async def test_a_plan_is_queued_again_at_once(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str, *, started: bool
) -> None:
    run = await factories.run(api, workspace)
    work = await listener.claim("k")
    assert work is not None
    if started:
        await listener.report(work, "planning")
    await drops(listener, work)
    assert await control.status(run) == "plan_queued"
    again = await foreign.claim("k")
    assert again is not None
    assert again["fence"] == work["fence"] + 1


async def test_an_apply_that_did_not_start_is_queued_again_at_once(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await listener.claim("apply", "apply")
    assert work is not None
    await drops(listener, work)
    assert await control.status(run) == "apply_queued"
    await factories.applies(foreign)
    assert await control.status(run) == "applied"


async def test_an_apply_that_had_started_is_lost_at_once(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    await drops(listener, work)
    assert await control.status(run) == "errored"
    shown = (await api.get(f"/api/v2/workspaces/{workspace}"))["data"]["attributes"]
    assert shown["hold"]["run"] == run
    assert "was started again and has nothing of it" in shown["hold"]["reason"]


async def test_what_was_canceled_is_canceled_at_once(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    await drops(listener, work)
    assert await control.status(run) == "canceled"


async def test_only_under_its_fence_and_by_its_agent(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    before = await rows()
    await drops(listener, work, fence=1)
    await drops(listener, work, fence=-1)
    await drops(foreign, work)
    await drops(foreign, work | {"phase_id": "plan-none"})
    assert await rows() == before
    await drops(listener, work)
    old = await rows()
    await drops(listener, work)  # said again, for the answer may be lost
    assert await rows() == old
    assert await control.status(run) == "plan_queued"


async def test_an_agent_that_drops_it_again_and_again_ends_the_run(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    for turn in range(control.services.settings.runs.claims_at_most):
        work = await listener.claim(f"turn {turn}")
        assert work is not None
        await drops(listener, work)
    assert await control.status(run) == "errored"


async def test_what_is_dropped_has_one_line_in_the_log(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    plan = await factories.starts_plan(listener)
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):  # said again, for the answer may be lost
            await drops(listener, plan)
        await factories.plans(listener, "again")
        apply = await factories.starts_apply(listener)
        for _ in range(2):
            await drops(listener, apply)
    told = [line for line in lines if line["event"] == "an agent has dropped a phase"]
    expected = [(work["phase_id"], run) for work in (plan, apply)]
    assert [(line["phase"], line["run"]) for line in told] == expected
    assert all(listener.id in line["agent"] for line in told)
    (held,) = (line for line in lines if line["event"] == "a workspace is on hold")
    assert (held["workspace"], held["run"]) == (workspace, run)
    assert "was started again and has nothing of it" in held["reason"]


async def test_a_run_says_that_its_agent_takes_no_work(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    trouble = "its disk is full: 3 MB are free in /data, 256 MB have to be"
    said = {"trouble": trouble}
    await listener.call("POST", f"{listener.at}/heartbeat", json=said)
    run = await factories.run(api, workspace)
    shown = (await api.get(f"/api/v2/runs/{run}"))["data"]["attributes"]
    assert shown["waiting-on"] == f"the agent first takes no work: {trouble}"
    await listener.beat()
    await control.services.ephemeral.take(f"pool-seen:{listener.pool}")
    shown = (await api.get(f"/api/v2/runs/{run}"))["data"]["attributes"]
    assert "waits for an agent of the pool pool to take it" in shown["waiting-on"]
