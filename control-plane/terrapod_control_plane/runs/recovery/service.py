"""Use cases of recovery: notice that the database was set back, pause, and go on."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import structlog
from msgspec import structs

from terrapod_common import wire
from terrapod_control_plane.kernel import db, epochs, events, markers
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.errors import Conflict, NotFound, Unavailable
from terrapod_control_plane.kernel.markers import Claim
from terrapod_control_plane.kernel.policy import Action
from terrapod_control_plane.runs import lifecycle, queue
from terrapod_control_plane.runs import queries as runs
from terrapod_control_plane.runs.events import HoldSet
from terrapod_control_plane.runs.logs import service as logs
from terrapod_control_plane.runs.model import Phase, Run, Status
from terrapod_control_plane.runs.recovery import queries
from terrapod_control_plane.runs.recovery.events import RecoveryEnded
from terrapod_control_plane.runs.recovery.model import Finding, Opened, Recovery
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.deleted import service as deleted
from terrapod_control_plane.workspaces.service import Hold

log = structlog.get_logger()

_MARKED = "a marker in the blob store"


async def show(ctx: Context) -> Recovery:
    """Whether the server is paused, why, and which applies the database does not know."""
    await ctx.must(Action.RECOVERY_READ)
    return await _present()


async def _present() -> Recovery:
    found = await epochs.installation()
    return Recovery(
        epoch=found.epoch,
        paused_at=found.paused_at,
        reason=found.pause_reason,
        findings=await queries.findings(),
    )


# --- noticing -------------------------------------------------------------------------------------


@internal
async def look_for_markers(ctx: Context) -> None:
    """At start: pause when applies were started that this database knows nothing of."""
    for place in await _unknown_places(ctx):
        claim = await markers.read(ctx.services.blobs, place)
        if claim is None:
            log.warning("a marker of an apply can't be read and counts nothing", key=place.key)
        else:
            await _suspect(ctx, claim, _MARKED)
    if reason := await epochs.paused():
        log.error("paused: nothing is handed out until `terrapod resume`", reason=reason)


async def _unknown_places(ctx: Context) -> list[markers.Place]:
    places = await markers.places(ctx.services.blobs)
    unknown = await queries.unknown([p.phase for p in places], [p.fence for p in places])
    return [place for place in places if place.phase in unknown]


@internal
async def shown_by_agent(ctx: Context, listener: str, held: Sequence[wire.Holding]) -> None:
    """An agent says that it holds what it does not hold here: perhaps it did, after a backup."""
    signed = [claim for holding in held if (claim := _proven(ctx, listener, holding))]
    if not signed:
        return
    unknown = await queries.unknown([c.phase for c in signed], [c.fence for c in signed])
    for claim in signed:
        if claim.phase in unknown:
            await _suspect(ctx, claim, f"the agent {listener}")


def _proven(ctx: Context, listener: str, holding: wire.Holding) -> Claim | None:
    """The claim of what an agent says it holds, if this server has signed just that."""
    claim = markers.opened(ctx.services.ring, holding.claim) if holding.claim else None
    shown = (holding.phase_id, holding.fence, listener)
    return claim if claim and (claim.phase, claim.fence, claim.listener) == shown else None


async def _suspect(ctx: Context, claim: Claim, told_by: str) -> None:
    # What an earlier epoch gave away was settled when that ended; a workspace may be deleted.
    if epochs.of(claim.fence) < (await epochs.installation()).epoch:
        return
    if await deleted.among(ctx, [claim.workspace]):
        return
    # Everybody whose run waits reads it, so it names nothing that not everybody may see.
    reason = f"{told_by} shows that a run went further than this database knows: it was set back"
    finding = Finding(
        phase_id=claim.phase,
        workspace_id=claim.workspace,
        workspace_name=claim.workspace_name,
        run_id=claim.run,
        fence=claim.fence,
        told_by=told_by,
        at=ctx.now(),
    )
    async with db.transaction():
        await queries.store(finding)
        fresh = await epochs.pause(ctx.now(), reason)
    if fresh:
        told = {"workspace": claim.workspace, "run": claim.run, "phase": claim.phase}
        log.error("the database is older than what has happened: paused", reason=reason, **told)


@internal
async def mark_start(ctx: Context, listener: str, run_id: str) -> None:
    """Leave a marker of an apply whose start was committed, before its agent is told."""
    run = await runs.get(run_id)
    apply = await runs.phase(run.apply_id) if run else None
    if run is not None and apply is not None:
        try:
            await markers.mark(ctx.services.blobs, claim_of(run, apply.id, apply.fence, listener))
        except OSError as error:
            # The agent asks again, and terraform starts only after an answer.
            raise Unavailable(f"The start can't be noted: {error.strerror}.") from error


def claim_token(ctx: Context, run: Run, phase: Phase) -> str:
    """What an agent can show later to prove what it was given."""
    claim = claim_of(run, phase.id, phase.fence, phase.listener_id or "")
    return markers.signed(ctx.services.ring, claim)


def claim_of(run: Run, phase: str, fence: int, listener: str) -> Claim:
    """Who was given which phase of a run."""
    return Claim(
        listener=listener,
        workspace=run.workspace_id,
        workspace_name=run.workspace_name,
        run=run.id,
        phase=phase,
        fence=fence,
    )


@internal
async def forget_deleted(ctx: Context) -> None:
    """Remove the markers of workspaces that were deleted."""
    if await epochs.paused() is not None:
        return
    unknown = await _unknown_places(ctx)
    gone = await deleted.among(ctx, [place.workspace for place in unknown])
    for place in unknown:
        if place.workspace in gone:
            await ctx.services.blobs.delete(place.key)


# --- going on -------------------------------------------------------------------------------------


async def resume(ctx: Context, *, new_epoch: bool = False) -> Recovery:
    """Begin a new epoch and hand out work again.

    Runs that were open end, their workspaces go on hold. With ``new_epoch`` also where nothing
    has paused: after a failover to a database that may have lost commits.
    """
    await ctx.must(Action.RECOVERY_RESUME)
    if not new_epoch and await epochs.paused() is None:
        raise Conflict("The server is not paused.")
    await epochs.pause(ctx.now(), "a new epoch begins")
    found = await _present()
    since = found.paused_at or ctx.now()
    ended, held = await _end_all(ctx, since)
    # Each of these stands for itself, and the pause lasts until all are done.
    for finding in found.findings:
        held |= await _hold(ctx, finding.workspace_id, finding.run_id, _went_on(finding))
    stale = await _unknown_places(ctx)
    async with db.transaction():
        epoch = await epochs.begin(ctx.now())
        await queries.forget()
        await epochs.go_on()
        await ctx.emit(RecoveryEnded(epoch=epoch, ended_runs=len(ended), held_workspaces=len(held)))
        await events.wake([f"pool:{pool}" for pool in await queries.pools()])
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


async def _end(ctx: Context, opened: Opened) -> set[str]:
    """End a run that was open, and hold its workspace where it may have applied something."""
    await workspaces.lock_row(ctx, opened.workspace_id)
    run = await runs.locked(opened.id)
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
    await queue.finish(ctx, lifecycle.moved(run, to, now, reason=reason), *ended)


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
