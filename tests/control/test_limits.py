"""Time limits of phases, and time in which nobody could say anything."""

import hashlib
from datetime import timedelta

import pytest

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs.phases.leases.jobs import LeaseWatch
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio


async def pass_by(control: Control, seconds: float) -> None:
    """Time goes by, in which agents have beaten."""
    control.clock.move(seconds)
    day = control.clock.now() + timedelta(days=1)
    await db.execute("update certificates set not_after = $1", day)
    until = control.clock.now() + timedelta(seconds=30)
    await db.execute("update phases set lease_until = $1 where lease_until is not null", until)


async def test_an_apply_that_was_stopped_at_its_limit_leaves_a_hold(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    await listener.send(work, "state", factories.state(), "final=true")
    said = await listener.report(work, "errored", limit_passed=True, message="it took too long")
    assert said.status_code == 200
    assert await control.status(run) == "errored"
    shown = (await api.get(f"/api/v2/workspaces/{workspace}"))["data"]["attributes"]
    assert "time limit" in shown["hold"]["reason"]


@pytest.mark.parametrize("started", [True, False], ids=["started", "only claimed"])
async def test_an_agent_that_never_stops_at_the_limit_is_left(
    control: Control, api: Client, listener: Agent, workspace: str, *, started: bool
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await (factories.starts_apply(listener) if started else listener.claim("apply"))
    assert work is not None
    runs = control.services.settings.runs
    await pass_by(control, runs.apply_limit_seconds + 1)
    await control.sweep()
    assert [order["kind"] for order in (await listener.beat(work))["orders"]] == ["cancel"]
    await control.sweep()  # the agent has time, however late the order was given
    assert await control.status(run) == ("applying" if started else "apply_queued")
    await pass_by(control, runs.apply_lease_seconds + 2 * runs.grace_seconds)
    await control.sweep()
    shown = (await api.get(f"/api/v2/runs/{run}"))["data"]["attributes"]
    assert shown["status"] == "errored"
    assert "time limit" in shown["reason"]
    held = (await api.get(f"/api/v2/workspaces/{workspace}"))["data"]["attributes"]["hold"]
    assert (held is not None) == started


async def test_leases_begin_anew_after_a_time_in_which_nobody_could_beat(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.starts_plan(listener)
    leases, context = LeaseWatch(2), system(control.services)
    await leases.look(context)
    control.clock.move(31)  # longer than the lease, as when the process was stopped
    await leases.look(context)
    assert await control.status(run) == "planning"
    for _ in range(16):
        control.clock.move(2)
        await leases.look(context)
    assert await control.status(run) == "plan_queued"


async def test_a_phase_that_passes_its_limit_is_ended(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    for _ in range(int(control.services.settings.runs.plan_limit_seconds / 20) + 1):
        control.clock.move(20)
        await listener.beat(work)
    await control.sweep()
    orders = (await listener.beat(work))["orders"]
    assert [order["kind"] for order in orders] == ["cancel"]
    shown = await api.get(f"/api/v2/runs/{run}")
    assert shown["data"]["attributes"]["reason"] == "it passed its time limit"
    assert (await listener.report(work, "canceled")).status_code == 200
    shown = await api.get(f"/api/v2/runs/{run}")
    assert shown["data"]["attributes"]["reason"] == "it passed its time limit"
    assert await control.status(run) == "errored"


async def test_an_order_that_came_too_late_leaves_no_reason(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    work = await factories.starts_plan(listener)
    await pass_by(control, control.services.settings.runs.plan_limit_seconds + 1)
    await control.sweep()
    digest = hashlib.sha256(b"{}").hexdigest()
    await listener.send(work, "artifacts/plan", b"{}", f"digest={digest}")
    assert (await listener.report(work, "planned", has_changes=True)).status_code == 200
    apply = await factories.starts_apply(listener)
    await listener.report(apply, "errored", message="provider said no")
    shown = (await api.get(f"/api/v2/runs/{run}"))["data"]["attributes"]
    assert shown["reason"] == "provider said no"


async def test_a_stop_at_the_limit_may_be_told_twice(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    await pass_by(control, control.services.settings.runs.plan_limit_seconds + 1)
    await control.sweep()
    for _ in range(2):
        assert (await listener.report(work, "canceled")).status_code == 200


async def test_one_that_cannot_be_moved_does_not_keep_the_others(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    runs = []
    for agent, name in ((listener, "bad"), (foreign, "good")):
        made = await factories.workspace(api, name)
        await factories.configuration(api, made)
        runs.append(await factories.run(api, made))
        work = await agent.claim("k")
        assert work is not None
        await agent.report(work, "planning")
    await db.execute("update runs set status_timestamps = '[]'::jsonb where id = $1", runs[0])
    control.clock.move(31)
    await control.sweep()
    assert await control.status(runs[1]) == "plan_queued"


async def test_the_memory_of_a_workspace_is_a_limit_of_its_phases(
    api: Client, listener: Agent, workspace: str
) -> None:
    body = {"data": {"type": "workspaces", "attributes": {"resource-memory": "2Gi"}}}
    changed = await api.call("PATCH", f"/api/v2/workspaces/{workspace}", json=body)
    assert changed.status_code == 200, changed.text
    await factories.run(api, workspace)
    work = await listener.claim("k")
    assert work is not None
    assert work["limits"]["memory_bytes"] == 2 * 2**30
