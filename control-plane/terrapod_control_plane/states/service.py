"""Use cases of state versions."""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from itertools import groupby

from anyio.to_thread import run_sync
from msgspec import structs

from terrapod_control_plane.kernel import ids
from terrapod_control_plane.kernel.blobs.base import BlobMissing
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Action, Scope
from terrapod_control_plane.states import addresses, content, model, packing, queries
from terrapod_control_plane.states.addresses import DOWNLOAD
from terrapod_control_plane.states.events import StateFinalized
from terrapod_control_plane.states.model import Excerpt, Resource, Shown
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.service import Workspace

StateVersion = model.StateVersion  # for the slices above
_AT_ONCE = 50  # excerpts that are written by one statement
_SMALL = 64 * 1024  # what is sealed or opened in the event loop
# A version names so many of its outputs; all of them have a list of their own.
_LINKED = 1000
_LINKED_IN_LIST = 100
_RESOURCES_IN_LIST = 4096  # bytes of them, sealed


# --- reading --------------------------------------------------------------------------------------


@internal
async def scope(id_: str) -> Scope | None:
    """A version belongs to its workspace."""
    workspace = await queries.workspace_of(id_)
    return await workspaces.scope(workspace) if workspace else None


@internal
async def output_scope(id_: str) -> Scope | None:
    """An output belongs to the workspace of its version."""
    return await scope(ids.parted(id_)[0])


async def show(ctx: Context, id_: str) -> Shown:
    """A version."""
    scope = await ctx.must(Action.STATE_READ, id_)
    return await shown(ctx, await get(id_), scope)


async def page(ctx: Context, workspace: str, paging: Paging) -> Page[Shown]:
    """The versions of a workspace, newest first."""
    scope = await ctx.must(Action.STATE_READ, workspace)
    found = await queries.page(workspace, paging)
    return Page(await _all_shown(ctx, found.items, scope), paging, found.total)


async def current(ctx: Context, workspace: str) -> Shown:
    """The present state of a workspace."""
    scope = await ctx.must(Action.STATE_READ, workspace)
    found = await current_of(ctx, workspace)
    if found is None:
        raise NotFound(f"The workspace {workspace} has no state.")
    return await shown(ctx, found, scope)


@internal
async def many(ctx: Context, wanted: Sequence[str]) -> list[Shown]:
    """What `?include=` shows of the versions that the caller may see; without addresses."""
    return await _all_shown(ctx, await visible(ctx, wanted), None)


@internal
async def visible(ctx: Context, wanted: Sequence[str]) -> list[StateVersion]:
    """Those of the versions that the caller may see."""
    found = await queries.many(wanted)
    seen = {w.id for w in await workspaces.many(ctx, [one.workspace_id for one in found])}
    return [one for one in found if one.workspace_id in seen]


async def download_url(ctx: Context, id_: str) -> str:
    """Where the content of a version can be had for a while."""
    await ctx.must(Action.STATE_DOWNLOAD, id_)
    found = await get(id_)
    if found.status not in ("finalized", "recovered"):
        raise NotFound(f"{id_} has no content: it is {found.status}.")
    return addresses.of(ctx, DOWNLOAD, id_)


@internal
async def download(ctx: Context, token: str) -> tuple[int, AsyncIterator[bytes]]:
    """The size and the content of a version, for whoever has the address."""
    version = await get(addresses.opened(ctx, token, DOWNLOAD))
    return await ctx.services.blobs.size(version.blob), ctx.services.blobs.read(version.blob)


# --- for the slices above, which have asked for permission ----------------------------------------


@internal
async def current_of(ctx: Context, workspace: str) -> StateVersion | None:
    """The present state of a workspace."""
    return await _present(await workspaces.get(ctx, workspace))


async def _present(workspace: Workspace) -> StateVersion | None:
    version = workspace.current_state_version_id
    return await get(version) if version else None


@internal
async def read_current(
    ctx: Context, workspace: str
) -> tuple[StateVersion, AsyncIterator[bytes]] | None:
    """The present state with its content; a content that is gone is an error, never empty."""
    found = await current_of(ctx, workspace)
    return (found, ctx.services.blobs.read(found.blob)) if found else None


@internal
async def insert(ctx: Context, version: StateVersion) -> None:
    """Write down a version whose content and excerpts are stored."""
    await queries.insert(version)


@internal
async def announce(ctx: Context, version: StateVersion) -> None:
    """Write down a version whose content is still to come."""
    await queries.insert(version)


@internal
async def rewrite(ctx: Context, version: StateVersion) -> None:
    """Write down a version that has changed."""
    await queries.update(version)


@internal
async def keep_excerpts(ctx: Context, version: str, excerpts: Sequence[Excerpt]) -> None:
    """Write down what a content says of itself, before the version is made to count.

    There may be very much of it, so nobody may be waiting for the caller's transaction.
    """
    for at in range(0, len(excerpts), _AT_ONCE):
        some = excerpts[at : at + _AT_ONCE]
        seal = partial(packing.sealed, ctx.services.ring, version, some)
        small = sum(len(one.content) for one in some) <= _SMALL
        await queries.insert_excerpts(version, some, seal() if small else await run_sync(seal))


@internal
async def forget_contents(ctx: Context, versions: Sequence[StateVersion]) -> None:
    """Remove contents, after the commit with which they ceased to count."""
    if versions:
        await queries.forget_excerpts([version.id for version in versions])
    for version in versions:
        await ctx.services.blobs.delete(version.blob)


@internal
async def digested(ctx: Context, version: StateVersion) -> StateVersion:
    """The version with its count of outputs; one from before there were excerpts gets them now."""
    if version.output_count is not None:
        return version
    try:
        read = await content.again(ctx.services.blobs, version.blob)
    except (content.BadState, BlobMissing):
        return version
    await keep_excerpts(ctx, version.id, read.excerpts)
    await queries.set_output_count(version.id, read.output_count)
    return structs.replace(version, output_count=read.output_count)


@internal
async def make_current(ctx: Context, version: StateVersion) -> None:
    """The version is the present state of its workspace from now on."""
    workspace = version.workspace_id
    await workspaces.set_current_state(ctx, workspace, version.id, version.resource_count)
    await ctx.emit(
        StateFinalized(
            state_version=version.id,
            workspace=workspace,
            serial=version.serial,
            run=version.run_id,
        )
    )


@internal
async def find(ctx: Context, id_: str) -> StateVersion | None:
    """A version, if there is one."""
    return await queries.get(id_)


@internal
async def locked(id_: str) -> StateVersion:
    """A version, locked until the end of the transaction; its workspace is locked before it."""
    found = await queries.locked(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


@internal
async def get(id_: str) -> StateVersion:
    """A version."""
    found = await queries.get(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


@internal
async def shown(ctx: Context, version: StateVersion, scope: Scope) -> Shown:
    """The version with its resources and outputs and the addresses that the caller may use."""
    version = await digested(ctx, version)
    resources = await _resources(ctx, [version], None)
    return _shown(ctx, version, scope, resources.get(version.id, []), _LINKED)


async def _all_shown(
    ctx: Context, versions: Sequence[StateVersion], scope: Scope | None
) -> list[Shown]:
    found = await _resources(ctx, versions, _RESOURCES_IN_LIST)
    return [
        _shown(ctx, version, scope, found.get(version.id), _LINKED_IN_LIST) for version in versions
    ]


def _shown(
    ctx: Context,
    version: StateVersion,
    scope: Scope | None,
    resources: list[Resource] | None,
    linked: int,
) -> Shown:
    count = min(version.output_count or 0, linked)
    one = Shown(
        **structs.asdict(version),
        outputs=[ids.part("wsout", version.id, number) for number in range(count)],
        resources=resources or [],
        resources_processed=resources is not None or version.resource_count == 0,
    )
    return addresses.with_addresses(ctx, one, scope)


async def _resources(
    ctx: Context, versions: Sequence[StateVersion], bytes_at_most: int | None
) -> Mapping[str, list[Resource]]:
    found = await queries.resources([version.id for version in versions], bytes_at_most)
    ring = ctx.services.ring
    return {
        version: [r for one in some for r in packing.opened(ring, version, one, Resource)]
        for version, some in groupby(found, lambda one: one.state_version_id)
    }
