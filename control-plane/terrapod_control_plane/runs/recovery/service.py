"""Use cases of recovery: notice that the database was set back, pause, and go on."""

from datetime import datetime
from functools import partial

import structlog
from msgspec import structs

from terrapod_control_plane.kernel import bus, db, epochs
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, NotFound
from terrapod_control_plane.runs import lifecycle
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.actions import RECOVERY_READ, RECOVERY_RESUME
from terrapod_control_plane.runs.events import HoldSet
from terrapod_control_plane.runs.logs import internal as logs
from terrapod_control_plane.runs.model import Run, Status
from terrapod_control_plane.runs.recovery import internal, queries
from terrapod_control_plane.runs.recovery.events import RecoveryEnded
from terrapod_control_plane.runs.recovery.model import Finding, OpenRun, Recovery
from terrapod_control_plane.runs.scheduler import internal as scheduler
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.model import Hold

log = structlog.get_logger()


async def show(ctx: Context) -> Recovery:
    """Whether the server is paused, why, and which applies the database does not know."""
    await ctx.must(RECOVERY_READ)
    return await _present()


async def _present() -> Recovery:
    found = await epochs.installation()
    return Recovery(
        epoch=found.epoch,
        paused_at=found.paused_at,
        reason=found.pause_reason,
        findings=await queries.findings(),
    )


async def resume(ctx: Context, *, new_epoch: bool = False) -> Recovery:
    """Begin a new epoch and hand out work again.

    Runs that were open end, their workspaces go on hold. With ``new_epoch`` also where nothing
    has paused: after a failover to a database that may have lost commits.
    """
    await ctx.must(RECOVERY_RESUME)
    if not new_epoch and await epochs.paused() is None:
        raise Conflict("The server is not paused.")
    await epochs.pause(ctx.now(), "a new epoch begins")
    found = await _present()
    since = found.paused_at or ctx.now()
    ended, held = await _end_all(ctx, since)
    # Each of these stands for itself, and the pause lasts until all are done.
    for finding in found.findings:
        held |= await _hold(ctx, finding.workspace_id, finding.run_id, _went_on(finding))
    stale = await internal.unknown_places(ctx)
    async with db.transaction():
        epoch = await epochs.begin(ctx.now())
        await queries.forget()
        await epochs.go_on()
        await ctx.emit(RecoveryEnded(epoch=epoch, ended_runs=len(ended), held_workspaces=len(held)))
        await bus.notify([f"pool:{pool}" for pool in await queries.pools()])
    for place in stale:
        await ctx.services.blobs.delete(place.key)
    log.info("resumed", epoch=epoch, ended_runs=len(ended), held_workspaces=sorted(held))
    done = await _present()
    return structs.replace(
        done, findings=found.findings, ended_runs=ended, held_workspaces=sorted(held)
    )


def _went_on(finding: Finding) -> str:
    return (
        f"{finding.run_id} was applied after the moment to which the database was set back "
        f"({finding.told_by} shows it): compare what is there with the state of the workspace"
    )


async def _end_all(ctx: Context, since: datetime) -> tuple[list[str], set[str]]:
    ended: list[str] = []
    held: set[str] = set()
    for opened in await queries.open_runs(since):
        async with db.transaction():
            held |= await _end(ctx, opened)
        ended.append(opened.id)
    return ended, held


async def _end(ctx: Context, opened: OpenRun) -> set[str]:
    """End a run that was open, and hold its workspace where it may have applied something."""
    await workspaces.lock_row(ctx, opened.workspace_id)
    run = await runs_queries.locked(opened.id)
    if run is None:
        return set()
    why = (
        f"{run.id} was open when the database was left behind and may have gone on after that: "
        "compare what is there with the state of the workspace"
    )
    held = set() if run.plan_only else await _hold(ctx, run.workspace_id, run.id, why)
    if not run.final:
        await _finish(ctx, run)
    return held


async def _finish(ctx: Context, run: Run) -> None:
    now = ctx.now()
    reason = "it was open when the database was left behind; a new run plans from what is there now"
    phases = await queries.unfinished(run.id)
    for phase in phases:
        if phase.start_confirmed:
            await logs.append_note(ctx, phase, f"\r\nError: {reason}\r\n")
    ended = [lifecycle.phase_moved(phase, "errored", now) for phase in phases]
    to = Status.DISCARDED if run.status in lifecycle.DISCARDABLE else Status.ERRORED
    await scheduler.finish(ctx, lifecycle.moved(run, to, now, reason=reason), *ended)


async def _hold(ctx: Context, workspace_id: str, run: str, reason: str) -> set[str]:
    async with db.transaction():
        try:
            workspace = await workspaces.lock_row(ctx, workspace_id)
        except NotFound:
            log.warning("a workspace that had applies is not in this database", id=workspace_id)
            return set()
        if workspace.hold_run_id is None:
            await workspaces.set_hold(
                ctx, workspace_id, Hold(run=run, reason=reason, since=ctx.now())
            )
            await ctx.emit(HoldSet(workspace=workspace_id, run=run, reason=reason))
            told = {"workspace": workspace_id, "run": run, "reason": reason}
            db.on_commit(partial(log.warning, "a workspace is on hold", **told))
        return {workspace.name}
