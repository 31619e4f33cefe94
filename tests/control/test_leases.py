"""Who holds a phase: claims, leases and fences against the real database and a moved clock."""

from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as drawn
from hypothesis import strategies as st

from terrapod_control_plane.kernel import db
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

PLAN_LEASE, APPLY_LEASE = 31, 121


async def rows() -> list[dict[str, Any]]:
    """All that a stale call must not change."""
    found = await db.rows("select * from phases order by id")
    found = [*found, *await db.rows("select * from runs order by id")]
    return [dict(row) for row in found]


async def taken(agent: Agent, key: str = "k", accept: str = "") -> dict[str, Any]:
    work = await agent.claim(key, accept)
    assert work is not None
    return work


async def planning(agent: Agent) -> dict[str, Any]:
    work = await taken(agent)
    assert (await agent.report(work, "planning")).status_code == 200
    return work


async def confirmed(api: Client, agent: Agent, workspace: str) -> str:
    run = await factories.run(api, workspace)
    await factories.plans(agent)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    return run


async def test_one_of_two_gets_it(
    api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    assert await listener.claim("early") is None
    run = await factories.run(api, workspace)
    work = await taken(listener)
    assert (work["run_id"], work["kind"], work["fence"]) == (run, "plan", 1)
    assert await foreign.claim("k") is None
    assert await listener.claim("another") is None


async def test_a_lost_answer_is_asked_again_with_the_same_key(
    api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    assert await taken(listener, "same") == await taken(listener, "same")


async def test_what_is_accepted_is_what_comes(api: Client, listener: Agent, workspace: str) -> None:
    await factories.run(api, workspace)
    assert await listener.claim("a", "apply") is None
    assert (await taken(listener, "b", "plan"))["kind"] == "plan"


async def test_an_agent_of_another_pool_gets_nothing(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    other = await control.join(api, await factories.pool(api, "other"), "first")
    await factories.run(api, workspace)
    assert await other.claim("k") is None
    assert await listener.claim("k") is not None


async def test_a_stale_fence_changes_nothing(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    old = await planning(listener)
    control.clock.move(PLAN_LEASE)
    await control.sweep()
    new = await planning(foreign)
    assert new["fence"] == old["fence"] + 1
    before = await rows()
    for status in ("planning", "planned", "errored", "canceled"):
        # The row names its new holder by now, so the old one is not even told of the phase.
        assert (await listener.report(old, status)).status_code in (404, 409)
        stale = new | {"fence": old["fence"]}
        assert (await foreign.report(stale, status)).status_code == 409
    for agent, work in ((listener, old), (foreign, new | {"fence": old["fence"]})):
        log = await agent.send(work, "log", b"x", "offset=0")
        artifact = await agent.send(work, "artifacts/plan", b"x", "digest=00")
        assert {log.status_code, artifact.status_code} <= {404, 409}
    assert await rows() == before
    assert (await listener.beat(old))["lost"] == [old["phase_id"]]
    assert await rows() == before


async def test_a_beat_renews_the_lease(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await planning(listener)
    for _ in range(3):
        control.clock.move(PLAN_LEASE - 5)
        assert (await listener.beat(work))["leases"] == {work["phase_id"]: 30.0}
        await control.sweep()
    assert await control.status(run) == "planning"


async def test_a_lost_plan_is_queued_again_and_at_last_given_up(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    fences = []
    for turn in range(control.services.settings.runs.claims_at_most):
        assert await control.status(run) == "plan_queued"
        work = await taken(listener, f"turn {turn}")
        fences.append(work["fence"])
        if turn % 2:  # with and without a confirmed start
            assert (await listener.report(work, "planning")).status_code == 200
        control.clock.move(PLAN_LEASE)
        await control.sweep()
    assert all(one < other for one, other in pairwise(fences))
    assert await control.status(run) == "errored"
    shown = await api.get(f"/api/v2/runs/{run}")
    assert "agents in a row" in shown["data"]["attributes"]["reason"]
    assert await listener.claim("one more") is None


async def test_an_apply_whose_agent_is_lost_is_errored_and_the_workspace_on_hold(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    run = await confirmed(api, listener, workspace)
    work = await factories.starts_apply(listener)
    control.clock.move(APPLY_LEASE)
    await control.sweep()
    assert await control.status(run) == "errored"
    shown = (await api.get(f"/api/v2/workspaces/{workspace}"))["data"]["attributes"]
    assert shown["hold"]["run"] == run
    assert await foreign.claim("k") is None
    assert (await listener.report(work, "applied")).status_code == 409
    # Nothing is applied until the hold has ended.
    following = await factories.run(api, workspace)
    await factories.plans(foreign, "following")
    refused = await api.call("POST", f"/api/v2/runs/{following}/actions/apply")
    assert (refused.status_code, "on hold" in refused.text) == (409, True)
    assert await control.status(following) == "planned"
    recovered = await listener.send(work, "recovered-state", factories.state())
    assert recovered.status_code == 200, recovered.text
    await api.post(f"/api/v2/workspaces/{workspace}/actions/adopt-state")
    # Its plan knew nothing of the state that was adopted.
    assert await control.status(following) == "discarded"
    last = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(foreign, "last")
    assert await control.status(last) == "apply_queued"


async def test_an_apply_that_was_claimed_but_not_started_is_handed_out_again(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    run = await confirmed(api, listener, workspace)
    old = await taken(listener, "apply", "apply")
    control.clock.move(APPLY_LEASE)
    await control.sweep()
    assert await control.status(run) == "apply_queued"
    work = await factories.applies(foreign)
    assert work["fence"] > old["fence"]
    assert await control.status(run) == "applied"
    assert (await listener.report(old, "applying")).status_code in (404, 409)


async def test_a_confirmed_run_cannot_be_confirmed_again_under_its_agent(
    api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    run = await confirmed(api, listener, workspace)
    await taken(listener, "apply", "apply")
    before = await rows()
    again = await api.call("POST", f"/api/v2/runs/{run}/actions/apply")
    assert again.status_code == 409
    assert await rows() == before
    assert await foreign.claim("k", "apply") is None


async def test_who_takes_plans_only_does_not_keep_applies_from_others(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    await confirmed(api, listener, workspace)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.get, f"{listener.at}/runs/next?wait=30&key=k&accept=plan")
            while not control.services.bus.waiting(f"pool:{listener.pool}"):
                await anyio.lowlevel.checkpoint()
            assert await foreign.claim("k", "plan") is None
            assert await foreign.claim("k", "apply") is not None
            tasks.cancel_scope.cancel()


async def test_a_report_that_is_repeated_says_the_same(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await confirmed(api, listener, workspace)
    work = await factories.starts_apply(listener)
    before = await rows()
    assert (await listener.report(work, "applying")).json()["status"] == "applying"
    assert await rows() == before
    sent = await listener.send(work, "state", factories.state(), "final=true")
    again = await listener.send(work, "state", factories.state(), "final=true")
    assert sent.status_code == 200, sent.text
    assert again.status_code == 409 or again.json() == sent.json()
    for _ in range(2):
        ended = await listener.report(work, "applied")
        assert (ended.status_code, ended.json()["status"]) == (200, "applied")
    before = await rows()
    assert (await listener.report(work, "errored")).status_code == 409
    assert await rows() == before
    assert await control.status(run) == "applied"


async def test_a_log_is_as_long_as_was_announced(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await planning(listener)
    assert (await listener.send(work, "log", b"hello", "offset=0")).json() == {"offset": 5}
    refused = await listener.report(work, "errored", log_size=6)
    assert refused.status_code == 409
    assert await control.status(run) == "planning"
    assert (await listener.report(work, "errored", log_size=5)).status_code == 200
    assert await control.status(run) == "errored"


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@drawn(st.lists(st.tuples(st.integers(-2, 6), st.binary(max_size=5)), max_size=8))
async def test_a_log_grows_at_its_end_only(
    control: Control, api: Client, listener: Agent, chunks: list[tuple[int, bytes]]
) -> None:
    await db.execute("delete from workspaces")
    workspace = await factories.workspace(api)
    await factories.configuration(api, workspace)
    run = await factories.run(api, workspace)
    work = await planning(listener)
    log = b""
    for shift, chunk in chunks:
        offset = len(log) + shift
        sent = await listener.send(work, "log", chunk, f"offset={offset}")
        log += chunk if shift == 0 else b""
        assert sent.json() == {"offset": len(log)}
    assert (await listener.report(work, "errored", log_size=len(log))).status_code == 200
    plan = await api.get(f"/api/v2/runs/{run}/plan")
    read = await api.call("GET", plan["data"]["attributes"]["log-read-url"])
    assert read.content == b"\x02" + log + b"\x03"


async def test_a_listener_that_joins_again_loses_what_it_held(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await planning(listener)
    again = await control.join(api, pool, "first")
    assert again.id == listener.id
    assert (await listener.call("POST", f"{listener.at}/heartbeat", json={})).status_code == 401
    await control.sweep()
    assert await control.status(run) == "plan_queued"
    assert (await taken(again))["fence"] > 1


async def test_a_revoked_listener_is_out_at_once(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await planning(listener)
    path = f"/api/v2/agent-pools/{pool}/listeners/{listener.id}"
    assert (await api.call("DELETE", path)).status_code == 204
    assert (await listener.call("GET", f"{listener.at}/runs/next")).status_code == 401
    await control.sweep()
    assert await control.status(run) == "plan_queued"


async def test_a_cancel_is_an_order_and_a_silent_agent_does_not_stop_it(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await planning(listener)
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    order = {"phase_id": work["phase_id"], "fence": 1, "kind": "cancel"}
    assert (await listener.beat(work))["orders"] == [order]
    assert (await listener.get(f"{listener.at}/orders?wait=0&seen=1"))["orders"] == [order]
    control.clock.move(PLAN_LEASE)
    await control.sweep()
    assert await control.status(run) == "canceled"
    assert (await listener.get(f"{listener.at}/orders?wait=0&seen=0"))["orders"] == []
