"""What proves that the database is older than what has happened: markers, claims of agents."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from terrapod_control_plane.health import jobs as health_jobs
from terrapod_control_plane.kernel import db, jobs, markers
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs.recovery import internal as recovery
from terrapod_control_plane.workspaces.deleted import jobs as deleted_workspaces_jobs
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.recoveries import RESUME, applied, hold_of, present, resume, set_back, shown

pytestmark = pytest.mark.anyio

DAY = 24 * 3600


@pytest.fixture(autouse=True)
async def no_markers(control: Control) -> None:
    """Workspaces of other tests have left theirs."""
    for place in await markers.places(control.services.blobs):
        await control.services.blobs.delete(place.key)


async def test_a_marker_that_the_database_does_not_know_pauses_the_next_start(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    work = await applied(api, listener, workspace)
    await recovery.look_for_markers(system(control.services))
    assert (await present(api))["paused"] is False
    await set_back(work["run_id"])
    await recovery.look_for_markers(system(control.services))
    found = await present(api)
    assert found["paused"] is True
    assert [f["run-id"] for f in found["findings"]] == [work["run_id"]]
    assert (await resume(api))["held-workspaces"] == ["app"]
    assert work["run_id"] in await hold_of(workspace)
    await recovery.look_for_markers(system(control.services))
    assert (await present(api))["paused"] is False


async def test_a_database_of_before_the_claim_is_noticed_too(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    work = await applied(api, listener, workspace)
    await db.execute("update phases set fence = 0, status = 'queued' where kind = 'apply'")
    await recovery.look_for_markers(system(control.services))
    assert (await present(api))["findings"][0]["phase-id"] == work["phase_id"]
    assert await listener.claim("again") is None


async def test_no_apply_starts_whose_marker_can_t_be_written(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    work = await listener.claim("apply")
    assert work is not None
    place = control.services.settings.data_dir / "blobs" / "marker" / workspace
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"in its way")
    assert (await listener.report(work, "applying")).status_code == 503
    place.unlink()
    assert (await listener.report(work, "applying")).status_code == 200
    (found,) = await markers.places(control.services.blobs)
    assert found.phase == work["phase_id"]


async def test_one_marker_a_workspace_stays(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    for _ in range(2):
        work = await applied(api, listener, workspace)
        state = await db.value("select current_state_version_id from workspaces")
        await db.execute("update runs set state_version_id = $1", state)
    (place,) = await markers.places(control.services.blobs)
    assert (place.workspace, place.phase) == (workspace, work["phase_id"])


async def test_the_marker_of_a_deleted_workspace_counts_nothing(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await applied(api, listener, workspace)
    await api.call("DELETE", f"/api/v2/workspaces/{workspace}")
    await recovery.look_for_markers(system(control.services))
    assert (await present(api))["paused"] is False
    await recovery.forget_deleted(system(control.services))
    assert await markers.places(control.services.blobs) == []


async def test_a_workspace_that_was_deleted_long_ago_is_still_known(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    """When neither the audit record nor the blob store has anything of it any more."""
    await applied(api, listener, workspace)
    work = await speculating(api, listener, workspace)
    await api.call("DELETE", f"/api/v2/workspaces/{workspace}")
    control.clock.move(400 * DAY)
    settings = control.services.settings
    for job in (*deleted_workspaces_jobs.jobs(settings), *health_jobs.jobs(settings)):
        if job.every == 3600:
            await jobs.turn(job, control.services)
    assert await db.value("select count(*) from audit_entries") == 0
    await db.execute("update certificates set not_after = $1", control.clock.now() + timedelta(1))
    await recovery.look_for_markers(system(control.services))
    await listener.beat(work)
    assert (await present(api))["paused"] is False
    await recovery.forget_deleted(system(control.services))
    assert await markers.places(control.services.blobs) == []


async def speculating(api: Client, agent: Agent, workspace: str) -> dict[str, Any]:
    """A plan that an agent carries out, and that keeps nobody from deleting its workspace."""
    await factories.run(api, workspace, **{"plan-only": True})
    return await factories.starts_plan(agent, "speculative")


async def test_why_it_is_paused_names_no_workspace_to_those_who_may_not_see_it(
    control: Control, api: Client, listener: Agent, as_: As, workspace: str
) -> None:
    work = await applied(api, listener, workspace)
    owner = await as_("owner")
    theirs = await factories.workspace(owner, "theirs")
    await factories.configuration(owner, theirs)
    waiting = await factories.run(owner, theirs)
    await set_back(work["run_id"])
    await recovery.look_for_markers(system(control.services))
    told = (await shown(owner, waiting))["waiting-on"]
    assert "shows that a run went further than this database knows" in told
    assert not {"app", work["run_id"]}.intersection(told.split())
    assert (await present(api))["findings"][0]["workspace-name"] == "app"


async def test_a_marker_of_somebody_else_counts_nothing(
    control: Control, api: Client, workspace: str
) -> None:
    inner = control.services.settings.data_dir / "blobs" / "marker" / workspace
    inner.mkdir(parents=True)
    (inner / "apply-1111111111111111.7").write_bytes(b"TPB1" + bytes(400))
    await recovery.look_for_markers(system(control.services))
    assert (await present(api))["paused"] is False


async def test_an_agent_proves_by_its_claim_that_it_was_given_more(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    await set_back(run)
    forged = work | {"claim": f"A{work['claim'][1:]}"}
    for agent, shown_ in ((listener, work | {"claim": ""}), (listener, forged), (foreign, work)):
        await agent.beat(shown_)
        assert (await present(api))["paused"] is False
    higher = work | {"fence": work["fence"] + 1}
    await listener.beat(higher)
    assert (await present(api))["paused"] is False
    await listener.beat(work)
    found = await present(api)
    assert (found["paused"], listener.id in found["reason"]) == (True, True)


async def test_a_claim_of_an_epoch_that_has_ended_proves_nothing(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    await api.post(f"{RESUME}?new-epoch=true")
    await set_back(run)
    await listener.beat(work)
    assert (await present(api))["paused"] is False


async def test_a_claim_is_bound_to_the_ring(control: Control) -> None:
    claim = markers.Claim(
        listener="l", workspace="w", workspace_name="n", run="r", phase="p", fence=1
    )
    other = type(control.services.ring).generate()
    assert (
        markers.opened(control.services.ring, markers.signed(control.services.ring, claim)) == claim
    )
    assert markers.opened(control.services.ring, markers.signed(other, claim)) is None
    signed = markers.signed(control.services.ring, structs.replace(claim, fence=2))
    assert markers.opened(control.services.ring, signed) != claim
