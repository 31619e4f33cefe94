"""What an apply saves on its way does not pile up, and the present state is never removed."""

from pathlib import Path
from typing import Any

import pytest

from terrapod_control_plane import app
from terrapod_control_plane.kernel import db, jobs
from terrapod_control_plane.states.run_uploads import queries
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.lost import applying

pytestmark = pytest.mark.anyio

HOUR = 3600


async def saved(agent: Agent, work: dict[str, Any], *serials: int, final: bool = False) -> None:
    for serial in serials:
        query = f"final={str(final).lower()}"
        sent = await agent.send(work, "state", factories.state(serial), query)
        assert sent.status_code == 200, sent.text


async def kept(api: Client, workspace: str) -> list[int]:
    found = await api.get(f"/api/v2/workspaces/{workspace}/state-versions")
    return [one["attributes"]["serial"] for one in found["data"]]


async def current(api: Client, workspace: str) -> int:
    found = await api.get(f"/api/v2/workspaces/{workspace}/current-state-version")
    serial: int = found["data"]["attributes"]["serial"]
    content = await api.call("GET", found["data"]["attributes"]["hosted-state-download-url"])
    assert content.json()["serial"] == serial
    return serial


def files(control: Control, workspace: str) -> int:
    root = control.services.settings.data_dir / "blobs" / "state" / workspace
    return sum(1 for path in Path(root).rglob("*") if path.is_file())


async def housekeeping(control: Control) -> None:
    for job in app.jobs(control.services.settings):
        if job.every == HOUR:
            await jobs.turn(job, control.services)


async def test_only_the_newest_states_of_an_apply_under_way_are_kept(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    """A large one each ten seconds once filled the disk before the last one came."""
    await factories.pushes(api, workspace, 1)
    work = await applying(api, listener, workspace)
    for serial in range(2, 8):
        await saved(listener, work, serial)
        assert await current(api, workspace) == serial
    assert await kept(api, workspace) == [7, 6, 1]
    assert files(control, workspace) == 3
    await saved(listener, work, 7)  # the same again
    assert await kept(api, workspace) == [7, 6, 1]
    await saved(listener, work, 8, final=True)
    assert await kept(api, workspace) == [8, 1]
    assert files(control, workspace) == 2


@pytest.mark.parametrize("after", ["nothing", "adopted", "another run"])
async def test_what_an_apply_without_a_last_state_had_saved_goes_but_for_the_newest(
    control: Control, api: Client, listener: Agent, workspace: str, after: str
) -> None:
    work = await applying(api, listener, workspace)
    await saved(listener, work, 2, 3, 4)
    control.clock.move(121)
    await control.sweep()
    if after == "adopted":
        assert (await listener.send(work, "recovered-state", factories.state(5))).status_code == 200
        await api.post(f"/api/v2/workspaces/{workspace}/actions/adopt-state")
    if after == "another run":
        await api.post(f"/api/v2/workspaces/{workspace}/actions/clear-hold")
        await factories.run(api, workspace, **{"auto-apply": True})
        await factories.plans(listener, "again")
        again = await factories.starts_apply(listener, "again apply")
        await saved(listener, again, 5, final=True)
        assert (await listener.report(again, "applied")).status_code == 200
    before = {"nothing": [4, 3], "adopted": [5, 4, 3], "another run": [5, 4, 3]}[after]
    await housekeeping(control)
    assert await kept(api, workspace) == before
    control.clock.move(HOUR + 1)
    await housekeeping(control)
    left = {"nothing": [4], "adopted": [5], "another run": [5, 4]}[after]
    assert await kept(api, workspace) == left
    assert await current(api, workspace) == left[0]
    assert files(control, workspace) == len(left)


async def test_the_present_state_stays_whatever_came_after_it(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    """As after a database was set right by hand."""
    work = await applying(api, listener, workspace)
    await saved(listener, work, 2, 3)
    older = "select id from state_versions where serial = 2"
    await db.execute(f"update workspaces set current_state_version_id = ({older})")
    control.clock.move(2 * HOUR)
    await housekeeping(control)
    assert await kept(api, workspace) == [3, 2]


async def test_one_that_has_become_a_last_state_meanwhile_stays(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    """It is removed as what it is, not as what it was when it was found."""
    work = await applying(api, listener, workspace)
    await saved(listener, work, 2, 3)
    older = await db.value("select id from state_versions where serial = 2")
    await db.execute("update state_versions set intermediate = false where id = $1", older)
    assert not await queries.remove(older)
    assert await kept(api, workspace) == [3, 2]
