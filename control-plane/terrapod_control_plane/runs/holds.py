"""The hold that an apply of unknown end leaves on a workspace, and how a person ends it."""

from terrapod_common.errors import Conflict
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.policy import Action
from terrapod_control_plane.runs import queue
from terrapod_control_plane.runs.events import HoldEnded
from terrapod_control_plane.states.of_runs import service as states
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.service import Workspace


async def adopt(ctx: Context, id_: str) -> Workspace:
    """Make the state that the lost apply reached the current one, and let applies go on."""
    await ctx.must(Action.WORKSPACE_HOLD, id_)
    async with db.transaction():
        workspace = await _held(ctx, id_)
        adopted = await states.adopt_recovered(ctx, id_, workspace.hold_run_id or "")
        if adopted is None and await states.has_final(ctx, workspace.hold_run_id or ""):
            raise Conflict(
                f"The state that {workspace.hold_run_id} reached is here already, in its turn: "
                "look at it, then clear the hold."
            )
        if adopted is None:
            raise Conflict(
                f"The state of {workspace.hold_run_id} has not arrived: wait for its agent to "
                "return, or clear the hold if you know that it never will."
            )
        return await _ended(ctx, workspace, how="adopted")


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
    await queue.advance(ctx, workspace.id)
    return await workspaces.get(ctx, workspace.id)
