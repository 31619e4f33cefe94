"""The hold that an apply of unknown end leaves on a workspace, and how a person ends it."""

from functools import partial

import structlog

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.events import HoldEnded
from terrapod_control_plane.runs.scheduler import internal as scheduler
from terrapod_control_plane.states.run_uploads import internal as run_states
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.actions import WORKSPACE_HOLD
from terrapod_control_plane.workspaces.model import Workspace

log = structlog.get_logger()


async def adopt(ctx: Context, id_: str, *, replace_newer: bool = False) -> Workspace:
    """Make the state that the apply reached the current one, and let applies go on.

    :class:`Conflict` when it is not here, and when somebody has stored another one since, unless
    ``replace_newer``.
    """
    await ctx.must(WORKSPACE_HOLD, id_)
    async with db.transaction():
        workspace = await _held(ctx, id_)
        run = workspace.hold_run_id or ""
        if not replace_newer:
            await _must_replace_nothing(ctx, workspace)
        adopted = await run_states.adopt_recovered(ctx, id_, run)
        if adopted is None and not await _current(ctx, workspace):
            raise Conflict(await _nothing_to_adopt(run))
        return await _ended(ctx, workspace, how="adopted")


async def _must_replace_nothing(ctx: Context, workspace: Workspace) -> None:
    present = await run_states.current(ctx, workspace.id)
    recovered = await run_states.recovered_of(ctx, workspace.hold_run_id or "")
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
    newest = await run_states.newest_of(ctx, workspace.hold_run_id or "")
    if newest is None or newest.intermediate:
        return False
    if newest.id != workspace.current_state_version_id:
        present = await run_states.current(ctx, workspace.id)
        raise Conflict(
            f"The state that {workspace.hold_run_id} reached, serial {newest.serial}, is here, but "
            f"another one has become current since, serial {present.serial if present else 0}: "
            "compare the two, then clear the hold. To go back to the other one, push it with "
            "`terraform state push -force`."
        )
    return True


async def _nothing_to_adopt(run: str) -> str:
    found = await runs_queries.get(run)
    apply = await runs_queries.phase(found.apply_id) if found else None
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
    await ctx.must(WORKSPACE_HOLD, id_)
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
    await scheduler.advance(ctx, workspace.id)
    return await workspaces.get(ctx, workspace.id)
