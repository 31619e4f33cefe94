"""Use cases of sharing state between workspaces."""

from collections.abc import Callable, Sequence

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.errors import Forbidden, NotFound
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Action
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.events import WorkspaceUpdated
from terrapod_control_plane.workspaces.service import Workspace
from terrapod_control_plane.workspaces.sharing import queries

_LONGEST_NAME = 90


async def page(ctx: Context, id_: str, paging: Paging) -> Page[Workspace]:
    """The consumers of a workspace's state, as far as the caller may see them."""
    await ctx.must(Action.WORKSPACE_READ, id_)
    return await queries.page(ctx.actor.visibility, id_, paging)


async def add(ctx: Context, id_: str, wanted: Sequence[str]) -> None:
    """Let more workspaces read the state."""
    await ctx.must(Action.WORKSPACE_UPDATE, id_)
    await _seen(ctx, wanted)
    await _change(ctx, id_, lambda old: old | set(wanted))


async def replace(ctx: Context, id_: str, wanted: Sequence[str]) -> None:
    """Let these workspaces read the state, and no others."""
    await ctx.must(Action.WORKSPACE_UPDATE, id_)
    await _seen(ctx, wanted)
    await _change(ctx, id_, lambda _: set(wanted))


async def remove(ctx: Context, id_: str, wanted: Sequence[str]) -> None:
    """Let these workspaces read the state no longer."""
    await ctx.must(Action.WORKSPACE_UPDATE, id_)
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


# --- for the slices above, which have asked for permission ----------------------------------------


@internal
async def sharer(ctx: Context, reader: str, *, name: str = "", id_: str = "") -> Workspace:
    """A workspace whose state a run of the reader may read, by its name or else by its id.

    One that is not shared and one that is not there are refused alike.
    """
    by_name = queries.sharer_by_name(name, reader) if name else queries.sharer_by_id(id_, reader)
    if (found := await by_name) is not None:
        return found
    asking, sought = (await workspaces.get(ctx, reader)).name, (name or id_)[:_LONGEST_NAME]
    raise Forbidden(
        f"The workspace {sought} does not share its state with {asking}, or does not exist. "
        f"Whoever administers {sought} can share it: set its global-remote-state, or add "
        f"{asking} to its remote-state-consumers."
    )
