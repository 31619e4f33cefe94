"""Use cases of state versions."""

from collections.abc import AsyncIterator

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.states import internal, queries, signed_urls
from terrapod_control_plane.states.model import Shown
from terrapod_control_plane.states.signed_urls import DOWNLOAD
from terrapod_control_plane.workspaces.actions import STATE_DOWNLOAD, STATE_READ


async def show(ctx: Context, id_: str) -> Shown:
    """A version."""
    scope = await ctx.must(STATE_READ, id_)
    return await internal.shown(ctx, await internal.get(id_), scope)


async def page(ctx: Context, workspace: str, paging: Paging) -> Page[Shown]:
    """The versions of a workspace, newest first."""
    scope = await ctx.must(STATE_READ, workspace)
    found = await queries.page(workspace, paging)
    return Page(await internal.all_shown(ctx, found.items, scope), paging, found.total)


async def current(ctx: Context, workspace: str) -> Shown:
    """The present state of a workspace."""
    scope = await ctx.must(STATE_READ, workspace)
    found = await internal.current_of(ctx, workspace)
    if found is None:
        raise NotFound(f"The workspace {workspace} has no state.")
    return await internal.shown(ctx, found, scope)


async def download_url(ctx: Context, id_: str) -> str:
    """Where the content of a version can be had for a while."""
    await ctx.must(STATE_DOWNLOAD, id_)
    found = await internal.get(id_)
    if found.status not in ("finalized", "recovered"):
        raise NotFound(f"{id_} has no content: it is {found.status}.")
    return signed_urls.signed_url(ctx, DOWNLOAD, id_)


async def download(ctx: Context, token: str) -> tuple[int, AsyncIterator[bytes]]:
    """The size and the content of a version, for whoever has the address."""
    id_ = ctx.signed(token, DOWNLOAD)
    version = await internal.get(id_)
    return await ctx.services.blobs.size(version.blob), ctx.services.blobs.read(version.blob)
