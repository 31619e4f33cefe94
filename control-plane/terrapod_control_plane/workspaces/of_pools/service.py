"""Use cases of workspaces that name a pool."""

from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.errors import Conflict
from terrapod_control_plane.workspaces import lifecycle
from terrapod_control_plane.workspaces.events import WorkspaceUpdated
from terrapod_control_plane.workspaces.of_pools import queries

_CHANGED = ["agent_pool_id", "updated_at"]


@internal
async def leave(ctx: Context, old: str, new: str | None) -> None:
    """Workspaces that name a pool name another one; refused when there is none and they do."""
    found = await queries.lock(old)
    if not found:
        return
    if new is None:
        raise Conflict(lifecycle.named_by(found))
    await queries.move(old, new, ctx.now())
    for moved in found:
        await ctx.emit(WorkspaceUpdated(workspace=moved.id, name=moved.name, changed=_CHANGED))
