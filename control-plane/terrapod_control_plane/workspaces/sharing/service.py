"""Use cases of sharing state between workspaces."""

from collections.abc import Callable, Sequence

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.actions import WORKSPACE_READ, WORKSPACE_UPDATE
from terrapod_control_plane.workspaces.events import WorkspaceUpdated
from terrapod_control_plane.workspaces.model import Workspace
from terrapod_control_plane.workspaces.sharing import queries


async def page(ctx: Context, id_: str, paging: Paging) -> Page[Workspace]:
    """The consumers of a workspace's state, as far as the caller may see them."""
    await ctx.must(WORKSPACE_READ, id_)
    return await queries.page(ctx.actor, id_, paging)


async def add(ctx: Context, id_: str, wanted: Sequence[str]) -> None:
    """Let more workspaces read the state."""
    await ctx.must(WORKSPACE_UPDATE, id_)
    await _seen(ctx, wanted)
    await _change(ctx, id_, lambda old: old | set(wanted))


async def replace(ctx: Context, id_: str, wanted: Sequence[str]) -> None:
    """Let these workspaces read the state, and no others."""
    await ctx.must(WORKSPACE_UPDATE, id_)
    await _seen(ctx, wanted)
    await _change(ctx, id_, lambda _: set(wanted))


async def remove(ctx: Context, id_: str, wanted: Sequence[str]) -> None:
    """Let these workspaces read the state no longer."""
    await ctx.must(WORKSPACE_UPDATE, id_)
    await _seen(ctx, wanted)
    await _change(ctx, id_, lambda old: old - set(wanted))


async def _seen(ctx: Context, wanted: Sequence[str]) -> None:
    unseen = set(wanted) - set(await workspaces.visible(ctx, wanted))
    if unseen:
        raise NotFound(f"There is no {min(unseen)}, or you may not see it.")


async def _change(ctx: Context, id_: str, change: Callable[[set[str]], set[str]]) -> None:
    try:
        async with db.transaction():
            workspace = await workspaces.lock_row(ctx, id_)
            old = set(await queries.consumers(id_))
            new = change(old)
            if new != old:
                await queries.remove(id_, sorted(old - new))
                await queries.add(id_, sorted(new - old))
                changed = ["remote_state_consumers"]
                await ctx.emit(
                    WorkspaceUpdated(workspace=id_, name=workspace.name, changed=changed)
                )
    except db.Missing as error:
        raise NotFound("One of the workspaces was deleted meanwhile.") from error
