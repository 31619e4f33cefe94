"""Archives of configurations and artifacts of plans that nobody needs go, and no others."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from terrapod_control_plane import app
from terrapod_control_plane.kernel import db, jobs
from terrapod_control_plane.kernel.context import Services
from terrapod_control_plane.settings import RetentionSettings
from tests.kit import factories
from tests.kit.control import Agent, Client, Control, problems

pytestmark = pytest.mark.anyio

HOUR = 3600
DAY = 24 * HOUR


async def housekeeping(parts: Services) -> None:
    for job in app.jobs(parts.settings):
        if job.every == HOUR:
            await jobs.turn(job, parts)


def files(control: Control, kind: str, workspace: str) -> set[str]:
    root = control.services.settings.data_dir / "blobs" / kind / workspace
    return {path.relative_to(root).parts[0] for path in Path(root).rglob("*") if path.is_file()}


async def status(api: Client, configuration: str) -> Any:
    shown = await api.get(f"/api/v2/configuration-versions/{configuration}")
    return shown["data"]["attributes"]["status"]


async def run_of(api: Client, workspace: str, configuration: str, **given: Any) -> str:
    body = factories.new_run(workspace, configuration, **given)
    made: str = (await api.post("/api/v2/runs", body))["data"]["id"]
    return made


async def applied(api: Client, agent: Agent, workspace: str, configuration: str, key: str) -> None:
    await run_of(api, workspace, configuration, **{"auto-apply": True})
    await factories.plans(agent, key)
    await factories.applies(agent, f"{key} apply")


# --- configurations -------------------------------------------------------------------------------


@pytest.fixture
async def old(control: Control, api: Client, listener: Agent) -> tuple[str, str, str]:
    """A workspace with a configuration that was applied, and a newer one."""
    workspace = await factories.workspace(api)
    first = await factories.configuration(api, workspace)
    control.clock.move(1)
    second = await factories.configuration(api, workspace)
    await applied(api, listener, workspace, first, "first")
    return workspace, first, second


async def test_an_archive_goes_when_a_newer_one_is_there_and_its_runs_ended_long_ago(
    control: Control, api: Client, old: tuple[str, str, str]
) -> None:
    """They all stayed for as long as their workspace."""
    workspace, first, second = old
    control.clock.move(30 * DAY - HOUR)
    await housekeeping(control.services)
    assert files(control, "configuration", workspace) == {first, second}
    control.clock.move(2 * HOUR)
    never = replace(
        control.services.settings, retention=RetentionSettings(configuration_archive_days=0)
    )
    await housekeeping(replace(control.services, settings=never))
    assert files(control, "configuration", workspace) == {first, second}
    for _ in range(2):  # there is nothing left to do the second time
        await housekeeping(control.services)
        assert files(control, "configuration", workspace) == {second}
    assert await status(api, first) == "archived"
    assert await status(api, second) == "uploaded"
    told = await db.rows(
        "select subject from audit_entries where action = $1", "configuration.archived"
    )
    assert [row["subject"] for row in told] == [first]


async def test_what_was_removed_is_said_to_whoever_asks_for_it(
    control: Control, api: Client, old: tuple[str, str, str]
) -> None:
    workspace, first, second = old
    control.clock.move(31 * DAY)
    await housekeeping(control.services)
    path = f"/api/v2/configuration-versions/{first}"
    refused = await api.call("GET", f"{path}/download")
    assert refused.status_code == 404
    assert "was removed" in problems(refused)[0]["detail"]
    assert (await api.get(path))["data"]["links"]["download"] is None
    refused = await api.call(
        "POST", "/api/v2/runs", json={"data": factories.new_run(workspace, first)}
    )
    assert refused.status_code == 422
    assert "was removed" in problems(refused)[0]["detail"]
    assert "Upload it once more" in problems(refused)[0]["detail"]
    assert await run_of(api, workspace, second)
    assert await factories.run(api, workspace)


@pytest.mark.parametrize(
    "why", ["a run waits", "a run ended a while ago", "only a speculative one"]
)
async def test_an_archive_that_may_be_needed_stays(
    control: Control, api: Client, listener: Agent, why: str
) -> None:
    workspace = await factories.workspace(api)
    first = await factories.configuration(api, workspace)
    control.clock.move(1)
    speculative = why == "only a speculative one"
    await factories.configuration(api, workspace, speculative=speculative)
    if why == "a run waits":
        await run_of(api, workspace, first)
        await factories.plans(listener, "waits")
    control.clock.move(25 * DAY)
    if why == "a run ended a while ago":
        day = control.clock.now() + timedelta(days=1)
        await db.execute("update certificates set not_after = $1", day)
        await applied(api, listener, workspace, first, "later")
    control.clock.move(6 * DAY)
    await housekeeping(control.services)
    assert first in files(control, "configuration", workspace)
    assert await status(api, first) == "uploaded"


async def test_speculative_archives_go_though_they_were_uploaded_last(
    control: Control, api: Client
) -> None:
    workspace = await factories.workspace(api)
    applicable = await factories.configuration(api, workspace)
    made = []
    for _ in range(3):
        control.clock.move(1)
        made.append(await factories.configuration(api, workspace, speculative=True))
    control.clock.move(31 * DAY)
    await housekeeping(control.services)
    assert files(control, "configuration", workspace) == {applicable, made[-1]}


async def test_more_archives_than_one_statement_finds_are_removed(
    control: Control, api: Client, workspace: str
) -> None:
    copy = (
        "insert into configuration_versions select id || '-' || n, workspace_id, created_by, "
        "created_at - interval '1 hour', status, error_message, source, speculative, provisional, "
        "auto_queue_runs, status_timestamps, size, digest from configuration_versions, "
        "generate_series(1, 250) n"
    )
    await db.execute(copy)
    control.clock.move(31 * DAY)
    await housekeeping(control.services)
    left = await db.value("select count(*) from configuration_versions where status = 'uploaded'")
    assert left == 1


# --- artifacts ------------------------------------------------------------------------------------


async def test_what_a_lost_attempt_left_goes_though_no_other_followed(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    """Its plan was queued again and failed before it uploaded anything: no row told of it."""
    run = await factories.run(api, workspace)
    lost = await factories.leaves_plan(listener)
    control.clock.move(HOUR)
    await control.sweep()
    again = await factories.starts_plan(listener, "again")
    assert (await listener.report(again, "errored")).status_code == 200
    assert await control.status(run) == "errored"
    assert files(control, "artifact", workspace) == {lost["phase_id"]}
    control.clock.move(30 * DAY - 2 * HOUR)
    await housekeeping(control.services)
    assert files(control, "artifact", workspace) == {lost["phase_id"]}
    control.clock.move(4 * HOUR)
    await housekeeping(control.services)
    assert files(control, "artifact", workspace) == set()
    # And it is not looked at again.
    assert await db.value("select count(*) from phases where kind = 'plan' and not left_gone") == 0
