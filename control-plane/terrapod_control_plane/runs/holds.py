"""The hold that an apply of unknown end leaves on a workspace, and how a person ends it."""

from functools import partial

import structlog
from msgspec.structs import replace

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.errors import Conflict
from terrapod_control_plane.kernel.policy import Action
from terrapod_control_plane.runs import queries, queue
from terrapod_control_plane.runs.events import HoldEnded, HoldSet
from terrapod_control_plane.runs.model import Phase, Run
from terrapod_control_plane.states.of_runs import service as states
from terrapod_control_plane.states.of_runs.service import StateVersion
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.service import Hold, Workspace

log = structlog.get_logger()


@internal
async def place(ctx: Context, run: Run, phase: Phase, cause: str) -> Phase:
    """Put the workspace on hold for what an apply may have left; inside its transaction."""
    cause = f"{run.id}: {cause}"
    reason = f"{cause}; {_here(await states.newest_of(ctx, run.id))}"
    hold = Hold(run=run.id, reason=reason, since=ctx.now())
    await workspaces.set_hold(ctx, run.workspace_id, hold)
    await _told(ctx, run, reason, late=False)
    return replace(phase, hold_cause=cause)


@internal
async def tell(ctx: Context, run: Run, phase: Phase, known: str) -> str:
    """Say on the hold of this run, if it stands, what is known by now; what it says then."""
    workspace = await workspaces.lock_row(ctx, run.workspace_id)
    if workspace.hold is None or workspace.hold.run != run.id:
        return ""
    reason = f"{phase.hold_cause or run.id}; {known}"
    if reason == workspace.hold.reason:
        return reason
    await workspaces.set_hold(ctx, workspace.id, replace(workspace.hold, reason=reason))
    await _told(ctx, run, reason, late=True)
    return reason


@internal
async def arrived(ctx: Context, run_id: str, phase_id: str) -> None:
    """A state came for an apply that is over: the hold, if it stands, says so."""
    async with db.transaction():
        workspace = await queries.workspace_of(run_id)
        if workspace is None:
            return
        await workspaces.lock_row(ctx, workspace)
        run, phase = await queries.locked(run_id), await queries.locked_phase(phase_id)
        if run is not None and phase is not None:
            await tell(ctx, run, phase, _here(await states.newest_of(ctx, run_id)))


@internal
async def nothing_left(ctx: Context, run: Run, phase: Phase) -> None:
    """The agent of an apply is there again, and has nothing of it any more."""
    newest = await states.newest_of(ctx, run.id)
    here = f"{_here(newest)}; nothing more will come" if newest else "no state of it will come"
    known = f"its agent was started again and has nothing of it: {here}"
    await tell(ctx, run, phase, f"{known}; look at what it may have made, then clear the hold")


async def _told(ctx: Context, run: Run, reason: str, *, late: bool) -> None:
    event = HoldSet(workspace=run.workspace_id, run=run.id, reason=reason, late=late)
    await ctx.emit(event)
    what = "more is known of a hold" if late else "a workspace is on hold"
    told = {"workspace": run.workspace_id, "run": run.id, "reason": reason}
    db.on_commit(partial(log.warning, what, **told))


def _here(newest: StateVersion | None) -> str:
    """What is known of the state that the apply reached."""
    if newest is None:
        return "no state of it has arrived"
    serial = f"serial {newest.serial}"
    if newest.status == "recovered":
        return f"the state that it reached, {serial}, is here: adopt it, or clear the hold"
    if newest.intermediate:
        return f"the newest state of it that has arrived is {serial}, and may not be its last"
    return f"its newest state, {serial}, is here: look at it, then clear or adopt"


async def adopt(ctx: Context, id_: str, *, replace_newer: bool = False) -> Workspace:
    """Make the state that the apply reached the current one, and let applies go on.

    :class:`Conflict` when it is not here, and when somebody has stored another one since, unless
    ``replace_newer``.
    """
    await ctx.must(Action.WORKSPACE_HOLD, id_)
    async with db.transaction():
        workspace = await _held(ctx, id_)
        run = workspace.hold_run_id or ""
        if not replace_newer:
            await _must_replace_nothing(ctx, workspace)
        adopted = await states.adopt_recovered(ctx, id_, run)
        if adopted is None and not await _current(ctx, workspace):
            raise Conflict(await _nothing_to_adopt(run))
        return await _ended(ctx, workspace, how="adopted")


async def _must_replace_nothing(ctx: Context, workspace: Workspace) -> None:
    present = await states.current(ctx, workspace.id)
    recovered = await states.recovered_of(ctx, workspace.hold_run_id or "")
    if present is None or recovered is None or present.run_id == recovered.run_id:
        return
    if workspace.hold_since is not None and present.created_at > workspace.hold_since:
        raise Conflict(
            f"Serial {present.serial} was stored while the workspace was on hold, and adopting "
            f"would put serial {recovered.serial}, which {recovered.run_id} reached, in its place: "
            "compare the two. To keep what is current clear the hold; to replace it adopt with "
            "`?replace=true`, or `terrapod workspaces adopt --replace`."
        )


async def _current(ctx: Context, workspace: Workspace) -> bool:
    """Whether the current state is already the last one that the run has reached."""
    newest = await states.newest_of(ctx, workspace.hold_run_id or "")
    if newest is None or newest.intermediate:
        return False
    if newest.id != workspace.current_state_version_id:
        present = await states.current(ctx, workspace.id)
        raise Conflict(
            f"The state that {workspace.hold_run_id} reached, serial {newest.serial}, is here, but "
            f"another one has become current since, serial {present.serial if present else 0}: "
            "compare the two, then clear the hold. To go back to the other one, push it with "
            "`terraform state push -force`."
        )
    return True


async def _nothing_to_adopt(run: str) -> str:
    found = await queries.get(run)
    apply = await queries.phase(found.apply_id) if found else None
    if apply is not None and apply.late_at is not None:
        return (
            f"There is no state of {run} to adopt, and its agent has said all that it knows: look "
            "at what the apply may have made, then clear the hold."
        )
    return (
        f"The last state of {run} has not arrived: wait for its agent to return, or clear the hold "
        "if you know that it never will. What was given out before a restore is refused: then the "
        "agent keeps the state, and its log says where."
    )


async def clear(ctx: Context, id_: str) -> Workspace:
    """Let applies go on with the state that the server has."""
    await ctx.must(Action.WORKSPACE_HOLD, id_)
    async with db.transaction():
        return await _ended(ctx, await _held(ctx, id_), how="cleared")


async def _held(ctx: Context, id_: str) -> Workspace:
    workspace = await workspaces.lock_row(ctx, id_)
    if workspace.hold_run_id is None:
        raise Conflict("The workspace is not on hold.")
    return workspace


async def _ended(ctx: Context, workspace: Workspace, *, how: str) -> Workspace:
    await workspaces.clear_hold(ctx, workspace.id)
    run = workspace.hold_run_id or ""
    await ctx.emit(HoldEnded(workspace=workspace.id, run=run, how=how))
    told = {"workspace": workspace.id, "run": run, "how": how, "by": ctx.actor.name}
    db.on_commit(partial(log.info, "a hold has ended", **told))
    await queue.advance(ctx, workspace.id)
    return await workspaces.get(ctx, workspace.id)
