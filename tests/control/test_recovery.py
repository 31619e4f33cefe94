"""A server that is paused after a restore, how it goes on, and that no fence of before counts."""

import pytest

from terrapod_control_plane.health.internal import Looks
from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.context import system
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.recoveries import RESUME, hold_of, pause, present, resume, shown

pytestmark = pytest.mark.anyio


# --- the pause ------------------------------------------------------------------------------------


async def test_nothing_is_handed_out_while_paused_and_everybody_is_told(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener)
    await pause(control)
    waiting = await factories.run(api, workspace, **{"plan-only": True})
    assert await listener.claim("k") is None
    refused = await api.call("POST", f"/api/v2/runs/{run}/actions/apply")
    assert (refused.status_code, "terrapod resume" in refused.text) == (409, True)
    for id_ in (run, waiting):
        assert "paused: it was restored" in (await shown(api, id_))["waiting-on"]
    await Looks().look(system(control.services))
    ready = await api.get("/ready")
    assert (ready["status"], ready["paused"]) == ("ready", True)
    assert (await present(api))["paused"] is True


async def test_persons_write_no_state_while_paused(
    control: Control, api: Client, workspace: str
) -> None:
    await pause(control)
    data = {"type": "state-versions", "attributes": {"serial": 1, "md5": "0" * 32}}
    path = f"/api/v2/workspaces/{workspace}/state-versions"
    refused = await api.call("POST", path, json={"data": data})
    assert (refused.status_code, "paused" in refused.text) == (409, True)


async def test_what_was_claimed_before_the_pause_is_neither_given_again_nor_started(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await listener.claim("the same")
    assert work is not None
    await epochs.pause(control.services.clock.now(), "a marker says so")
    assert await listener.claim("the same") is None
    assert (await listener.report(work, "planning")).status_code == 409
    assert await control.status(run) == "plan_queued"


async def test_a_question_of_before_a_restore_gets_nothing_after_it(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    """The phase is still held by the restored rows, and its agent asks with the key of then."""
    await factories.run(api, workspace)
    assert await listener.claim("the same") is not None
    async with db.transaction():
        await epochs.begin(control.services.clock.now())
    assert await listener.claim("the same") is None


async def test_no_lease_ends_while_paused(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.starts_plan(listener)
    await pause(control)
    control.clock.move(3600)
    await control.sweep()
    assert await control.status(run) == "planning"


@pytest.mark.parametrize("name", ["owner", "reader"])
async def test_only_an_administrator_lets_it_go_on(control: Control, as_: As, name: str) -> None:
    await pause(control)
    answer = await (await as_(name)).call("POST", RESUME)
    assert answer.status_code == 403


async def test_a_server_that_is_not_paused_has_nothing_to_resume(api: Client) -> None:
    assert (await api.call("POST", RESUME)).status_code == 409


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["pending", "queued", "planned", "confirmed", "applying"])
async def test_what_was_open_ends_and_holds_its_workspace(
    control: Control, api: Client, listener: Agent, workspace: str, stage: str
) -> None:
    run = await factories.run(api, workspace)
    open_ = [run, await factories.run(api, workspace)] if stage == "pending" else [run]
    if stage not in ("pending", "queued"):
        await factories.plans(listener)
    if stage in ("confirmed", "applying"):
        await api.post(f"/api/v2/runs/{run}/actions/apply")
    if stage == "applying":
        await factories.starts_apply(listener)
    await pause(control)
    answer = await resume(api)
    assert sorted(answer["ended-runs"]) == sorted(open_)
    assert (answer["held-workspaces"], answer["paused"]) == (["app"], False)
    assert "compare what is there" in await hold_of(workspace)
    for id_ in open_:
        ended = await shown(api, id_)
        assert ended["status"] in ("errored", "discarded")
        assert "database was left behind" in ended["reason"]
    assert await listener.claim("later") is None


@pytest.mark.parametrize("action", ["cancel", "discard"])
async def test_who_ends_a_run_during_the_pause_does_not_end_the_doubt(
    control: Control, api: Client, listener: Agent, workspace: str, action: str
) -> None:
    run = await factories.run(api, workspace)
    if action == "discard":
        await factories.plans(listener)
    await pause(control)
    control.clock.move(1)
    await api.post(f"/api/v2/runs/{run}/actions/{action}")
    assert (await resume(api))["held-workspaces"] == ["app"]
    assert run in await hold_of(workspace)


async def test_runs_that_were_over_hold_nothing(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    control.clock.move(1)
    await pause(control)
    answer = await resume(api)
    assert (answer["ended-runs"], answer["held-workspaces"]) == ([], [])


async def test_what_only_planned_needs_no_hold(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace, **{"plan-only": True})
    await pause(control)
    answer = await resume(api)
    assert (len(answer["ended-runs"]), answer["held-workspaces"]) == (1, [])
    assert await hold_of(workspace) == ""


async def test_runs_made_during_the_pause_go_on_after_it(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await pause(control)
    control.clock.move(1)
    run = await factories.run(api, workspace)
    assert await control.status(run) == "pending"
    await resume(api)
    await control.sweep()
    assert await control.status(run) == "plan_queued"
    assert (await factories.plans(listener))["run_id"] == run


# --- epochs ---------------------------------------------------------------------------------------


async def test_no_fence_of_an_earlier_epoch_counts(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    work = await factories.starts_apply(listener)
    assert work["fence"] == 1
    await api.post(f"{RESUME}?new-epoch=true")
    assert (await listener.beat(work))["lost"] == [work["phase_id"]]
    assert (await listener.report(work, "applied")).status_code == 409
    assert (await listener.report(work | {"fence": None}, "applied")).status_code == 409
    assert (await listener.send(work, "log", b"late", "offset=0")).status_code == 409
    assert (await listener.send(work, "state", factories.state())).status_code == 409
    late = await listener.send(work, "recovered-state", factories.state())
    assert (late.status_code, "Keep the state" in late.text) == (409, True)
    assert (await listener.send(work, "late-log", b"late", "offset=0")).status_code == 409
    assert (await listener.send(work, "late-result", b'{"began": true}')).status_code == 409
    assert "late" not in await hold_of(workspace)
    assert await db.value("select count(*) from state_versions") == 0


async def test_what_is_held_when_a_backup_is_restored_is_held_no_more(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    await pause(control)
    assert (await listener.beat(work))["lost"] == [work["phase_id"]]
    assert (await listener.report(work, "planned")).status_code == 409


async def test_each_epoch_is_greater_than_all_before(control: Control) -> None:
    now, numbers = control.services.clock.now(), []
    for _ in range(3):
        async with db.transaction():
            numbers.append(await epochs.begin(now))
    assert numbers == sorted(set(numbers))
    assert numbers[0] == int(now.timestamp() * 100)
    assert (numbers[-1] << epochs.BITS) + (1 << epochs.BITS) < 2**53


async def test_a_new_epoch_counts_its_fences_anew(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    epoch = (await api.post(f"{RESUME}?new-epoch=true"))["data"]["attributes"]["epoch"]
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    assert work["fence"] == (epoch << epochs.BITS) + 1
    # As a client says it that was written to the API reference, which knows no fence.
    said = {"status": "errored", "message": "no luck"}
    answer = await listener.call("PATCH", f"{listener.at}/runs/{run}", json=said)
    assert answer.status_code == 200
