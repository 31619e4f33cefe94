"""What nobody needs any more goes by itself, and nothing else does."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from terrapod_agent.identity import certificate_request, new_key
from terrapod_common.loops import Backoff, Retries
from terrapod_control_plane import app
from terrapod_control_plane.kernel import db, jobs
from terrapod_control_plane.kernel.blobs.base import once
from terrapod_control_plane.kernel.context import Services, system
from terrapod_control_plane.runs.logs import internal as logs
from terrapod_control_plane.settings import RetentionSettings
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
def root(control: Control) -> Path:
    """Where the blobs are."""
    return control.services.settings.data_dir / "blobs"


def files(root: Path, workspace: str) -> set[str]:
    """The contents of a workspace, by their kinds and names; markers are no content."""
    found = (path.relative_to(root).parts for path in root.rglob("*") if path.is_file())
    of_it = [parts for parts in found if parts[1] == workspace and parts[0] != "marker"]
    return {"/".join((parts[0], *parts[2:3])) for parts in of_it}


def kept(control: Control, **days: Any) -> Services:
    """The parts of the server, with other times."""
    settings = replace(control.services.settings, retention=RetentionSettings(**days))
    return replace(control.services, settings=settings)


async def housekeeping(parts: Services) -> None:
    """What comes round each hour."""
    for job in app.jobs(parts.settings):
        if job.every == HOUR:
            await jobs.turn(job, parts)


# --- events and audit -----------------------------------------------------------------------------

_OLD = {
    "outbox": "insert into outbox (kind, payload, at) select 'old', '{}', $1 ",
    "audit_entries": "insert into audit_entries (at, actor_kind, actor_id, actor_name, request_id, "
    "action, subject, detail) select $1, '', '', '', '', 'old', '', '{}' ",
}


@pytest.mark.parametrize(("table", "days"), [("outbox", 7), ("audit_entries", 365)])
async def test_old_entries_go_however_many_there_are(
    control: Control, workspace: str, table: str, days: int
) -> None:
    old = f"select count(*) from {table} where {'kind' if table == 'outbox' else 'action'} = 'old'"
    before = await db.value(f"select count(*) from {table}")
    assert before > 0
    await db.execute(f"{_OLD[table]} from generate_series(1, 2500)", control.clock.now())
    control.clock.move(days * DAY - HOUR)
    await housekeeping(control.services)
    assert await db.value(old) == 2500
    control.clock.move(2 * HOUR)
    await housekeeping(control.services)
    assert await db.value(old) == 0


async def test_an_audit_record_may_be_kept_for_ever(control: Control, workspace: str) -> None:
    before = await db.value("select count(*) from audit_entries")
    control.clock.move(4000 * DAY)
    await housekeeping(kept(control, audit_days=0))
    assert await db.value("select count(*) from audit_entries") == before
    await housekeeping(control.services)
    assert await db.value("select count(*) from audit_entries") == 0


# --- agents ---------------------------------------------------------------------------------------


async def test_certificates_go_when_they_can_not_be_renewed_any_more(
    control: Control, api: Client, listener: Agent, foreign: Agent
) -> None:
    """They were kept for ever, three a day for each agent."""
    count = "select count(*) from certificates where listener_id = $1"
    control.clock.move(30 * DAY)
    nonce = (await api.call("POST", f"{foreign.at}/nonce")).json()["nonce"]
    assert nonce
    assert await db.value(count, listener.id) == 1
    later = (
        "update certificates set not_after = not_after + interval '1 day' where listener_id = $1"
    )
    await db.execute(later, foreign.id)
    await housekeeping(control.services)
    assert await db.value(count, listener.id) == 1  # ended a day after it began
    control.clock.move(DAY + HOUR)
    await housekeeping(control.services)
    assert await db.value(count, listener.id) == 0
    assert await db.value(count, foreign.id) == 1
    names = await api.get(f"/api/v2/agent-pools/{listener.pool}/listeners")
    assert [one["attributes"]["name"] for one in names["data"]] == ["second"]
    told = await db.rows("select subject from audit_entries where action = 'listener.forgotten'")
    assert [row["subject"] for row in told] == [listener.id]


async def test_an_agent_with_a_newer_certificate_keeps_its_name(
    control: Control, listener: Agent
) -> None:
    sent = await listener.call(
        "POST", f"{listener.at}/renew", json={"csr": certificate_request(new_key(), "x")}
    )
    assert sent.status_code == 403  # another key; the row is what counts here
    await db.execute(
        "insert into certificates select 'newer', listener_id, not_after + interval '5 days' "
        "from certificates where listener_id = $1",
        listener.id,
    )
    control.clock.move(32 * DAY)
    await housekeeping(control.services)
    left = await db.rows("select fingerprint from certificates")
    assert [row["fingerprint"] for row in left] == ["newer"]
    assert await db.value("select count(*) from listeners") == 1


# --- runs -----------------------------------------------------------------------------------------


async def test_what_a_plan_left_goes_after_its_run_has_ended(
    control: Control, api: Client, listener: Agent, workspace: str, root: Path
) -> None:
    over = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener, "first")
    await factories.applies(listener)
    control.clock.move(1)
    await factories.run(api, workspace)
    waiting = await factories.plans(listener, "second")
    ended = (await api.get(f"/api/v2/runs/{over}"))["data"]["relationships"]["plan"]["data"]["id"]
    control.clock.move(30 * DAY - HOUR)
    await housekeeping(control.services)
    assert {f"artifact/{ended}", f"artifact/{waiting['phase_id']}"} <= files(root, workspace)
    control.clock.move(2 * HOUR)
    await housekeeping(kept(control, plan_days=0))
    assert f"artifact/{ended}" in files(root, workspace)
    await housekeeping(control.services)
    assert f"artifact/{ended}" not in files(root, workspace)
    assert f"artifact/{waiting['phase_id']}" in files(root, workspace)
    gone = await api.call("GET", f"/api/v2/plans/{ended}/json-output")
    assert gone.status_code == 404
    assert (await api.call("GET", f"/api/v2/plans/{waiting['phase_id']}/json-output")).is_success


async def test_what_lost_attempts_at_a_plan_left_goes_with_it(
    control: Control, api: Client, listener: Agent, workspace: str, root: Path
) -> None:
    run = await factories.run(api, workspace)
    await factories.leaves_plan(listener)
    control.clock.move(HOUR)
    await control.sweep()
    work = await factories.plans(listener, "again")
    assert len([*(root / "artifact" / workspace).rglob("re-*")]) == 3
    await api.post(f"/api/v2/runs/{run}/actions/discard")
    control.clock.move(31 * DAY)
    await housekeeping(control.services)
    assert f"artifact/{work['phase_id']}" not in files(root, workspace)


async def test_only_the_newest_of_states_that_came_late_are_kept(
    control: Control, api: Client, listener: Agent, workspace: str, root: Path
) -> None:
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    lost = await factories.starts_apply(listener)
    await listener.send(lost, "state", factories.state(1), "final=false")
    control.clock.move(HOUR)
    await control.sweep()
    outputs = {"a": {"value": 1, "type": "number"}}
    for serial in range(2, 10):
        body = json.dumps(factories.STATE | {"serial": serial, "outputs": outputs}).encode()
        assert (await listener.send(lost, "recovered-state", body)).status_code == 200
    listed = (await api.get(f"/api/v2/workspaces/{workspace}/state-versions"))["data"]
    serials = [one["attributes"]["serial"] for one in listed]
    assert serials == [9, 8, 7, 6, 5, 1]
    assert len([name for name in files(root, workspace) if name.startswith("state/")]) == 6
    assert await db.value("select count(distinct state_version_id) from state_excerpts") == 5
    adopted = await api.post(f"/api/v2/workspaces/{workspace}/actions/adopt-state")
    assert adopted["data"]["attributes"]["hold"] is None


# --- deleted workspaces ---------------------------------------------------------------------------


async def test_contents_of_a_deleted_workspace_go_after_a_while(
    control: Control, api: Client, listener: Agent, workspace: str, root: Path
) -> None:
    other = await factories.workspace(api, "other")
    await factories.configuration(api, other)
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    await listener.send(work, "log", b"something", "offset=0")
    await listener.send(work, "state", factories.state(), "final=true")
    await listener.report(work, "applied")
    await logs.archive(system(control.services))
    kinds = {name.partition("/")[0] for name in files(root, workspace)}
    assert kinds == {"state", "configuration", "artifact", "log"}
    assert (await api.call("DELETE", f"/api/v2/workspaces/{workspace}")).status_code == 204
    control.clock.move(7 * DAY - HOUR)
    await control.services.blobs.put(
        f"state/{workspace}/late", once(b"an upload that was under way")
    )
    await housekeeping(control.services)
    assert len(files(root, workspace)) >= 5
    control.clock.move(2 * HOUR)
    await housekeeping(control.services)
    assert files(root, workspace) == set()
    assert len(files(root, other)) == 1
    left = "select count(*) from deleted_workspaces where cleaned_at is null"
    assert await db.value(left) == 0


async def test_what_was_not_deleted_here_is_not_touched(
    control: Control, api: Client, workspace: str, root: Path
) -> None:
    """As after a database was set back: it does not know of newer workspaces."""
    await db.execute("delete from workspaces where id = $1", workspace)
    control.clock.move(100 * DAY)
    await housekeeping(control.services)
    assert len(files(root, workspace)) == 1


async def test_contents_of_a_workspace_that_is_there_stay(
    control: Control, api: Client, workspace: str, root: Path
) -> None:
    """As when rows of an older database were put back by hand."""
    await db.execute(
        "insert into deleted_workspaces values ($1, $2)", workspace, control.clock.now()
    )
    control.clock.move(100 * DAY)
    await housekeeping(control.services)
    assert len(files(root, workspace)) == 1


# --- logs that can't be archived ------------------------------------------------------------------


async def ended_logs(api: Client, agent: Agent, workspace: str, count: int) -> list[str]:
    """Plans that are over, each with a log, in the order in which they are found."""
    made = []
    for number in range(count):
        await factories.run(api, workspace, **{"plan-only": True})
        work = await factories.starts_plan(agent, f"k{number}")
        await agent.send(work, "log", f"log {number}".encode(), "offset=0")
        assert (await agent.report(work, "errored")).status_code == 200
        made.append(work["phase_id"])
    return made


async def test_a_log_that_can_not_be_archived_keeps_no_other(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    phases = await ended_logs(api, listener, workspace, 25)
    damaged = phases[:22]  # more than one turn looks at
    for phase in damaged:
        sql = "update log_chunks set sealed = sealed || '\\x00'::bytea where phase_id = $1"
        assert await db.execute(sql, phase) == 1
    now = 0.0
    retries = Retries(Backoff(first=5, longest=20), lambda: now)
    in_blobs = "select count(*) from phases where log_index is not null"
    with structlog.testing.capture_logs() as told:
        await logs.archive(system(control.services), retries)
        await logs.archive(system(control.services), retries)
        assert await db.value(in_blobs) == 3
        assert len(retries.waiting) == 22
        now = 6.0
        for _ in range(2):
            await logs.archive(system(control.services), retries)
    assert [line["log_level"] for line in told] == ["error"] * 22
    mend = "update log_chunks set sealed = substring(sealed for length(sealed) - 1)"
    await db.execute(f"{mend} where phase_id = any($1)", damaged)
    now = 30.0
    for _ in range(2):
        await logs.archive(system(control.services), retries)
    assert await db.value(in_blobs) == 25
    assert retries.waiting == []
    token = control.services.signer.sign("log-read", damaged[0], timedelta(hours=1))
    answer = await api.call("GET", f"/api/v2/logs/{token}")
    assert b"log 0" in answer.content
