"""What deleted workspaces have left."""

from collections.abc import Sequence
from datetime import timedelta

from terrapod_common.loops import each
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.workspaces.deleted import queries
from terrapod_control_plane.workspaces.events import WorkspaceDeleted

# What slices keep of a workspace, below its id.
_KINDS = ("state", "configuration", "artifact", "log")


_AT_ONCE = 20


async def note(ctx: Context, event: WorkspaceDeleted) -> None:
    """Remember what is to be removed, in the transaction that deletes the workspace."""
    await queries.note(event.workspace, ctx.now())


async def among(ctx: Context, wanted: Sequence[str]) -> set[str]:
    """Those that were deleted here; known for ever, for an agent may come back after any time."""
    return await queries.among(wanted)


async def clean(ctx: Context) -> None:
    """Remove the contents of workspaces that were deleted some time ago.

    Only what was deleted here is touched, so a database that was set back loses nothing; and by
    then no upload can be under way that began before.
    """
    age = timedelta(days=ctx.settings.retention.deleted_days)
    while await _some(ctx, age):
        pass


async def _some(ctx: Context, age: timedelta) -> int:
    gone: list[str] = []

    async def clean_(workspace: str) -> None:
        for kind in _KINDS:
            async for key in ctx.services.blobs.below(f"{kind}/{workspace}/"):
                await ctx.services.blobs.delete(key)
        await queries.cleaned(workspace, ctx.now())
        gone.append(workspace)

    await each(await queries.before(ctx.now() - age, _AT_ONCE), clean_)
    return len(gone)
