"""Holds, for those who end runs."""

from functools import partial

import structlog
from msgspec.structs import replace

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.events import HoldSet
from terrapod_control_plane.runs.model import Phase, Run
from terrapod_control_plane.states.model import StateVersion
from terrapod_control_plane.states.run_uploads import internal as run_states
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.model import Hold

log = structlog.get_logger()


async def place(ctx: Context, run: Run, phase: Phase, cause: str) -> Phase:
    """Put the workspace on hold for what an apply may have left; inside its transaction."""
    cause = f"{run.id}: {cause}"
    reason = f"{cause}; {_here(await run_states.newest_of(ctx, run.id))}"
    hold = Hold(run=run.id, reason=reason, since=ctx.now())
    await workspaces.set_hold(ctx, run.workspace_id, hold)
    await _told(ctx, run, reason, late=False)
    return replace(phase, hold_cause=cause)


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


async def arrived(ctx: Context, run_id: str, phase_id: str) -> None:
    """A state came for an apply that is over: the hold, if it stands, says so."""
    async with db.transaction():
        workspace = await runs_queries.workspace_of(run_id)
        if workspace is None:
            return
        await workspaces.lock_row(ctx, workspace)
        run, phase = await runs_queries.locked(run_id), await runs_queries.locked_phase(phase_id)
        if run is not None and phase is not None:
            await tell(ctx, run, phase, _here(await run_states.newest_of(ctx, run_id)))


async def nothing_left(ctx: Context, run: Run, phase: Phase) -> None:
    """The agent of an apply is there again, and has nothing of it any more."""
    newest = await run_states.newest_of(ctx, run.id)
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
