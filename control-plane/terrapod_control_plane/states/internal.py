"""State versions, for other slices and jobs."""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from itertools import groupby

from anyio.to_thread import run_sync
from msgspec import structs

from terrapod_control_plane.kernel import ids
from terrapod_control_plane.kernel.blobs.base import BlobMissing
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.kernel.policy import Scope
from terrapod_control_plane.states import content, packing, queries, signed_urls
from terrapod_control_plane.states.events import StateFinalized
from terrapod_control_plane.states.model import Excerpt, Shown, StateResource, StateVersion
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.model import Workspace

_AT_ONCE = 50  # excerpts that are written by one statement
_FEW = 16  # of them, that a transaction may write beside other things


_SMALL = 64 * 1024  # what is sealed or opened in the event loop


# A version names so many of its outputs; all of them have a list of their own.
_LINKED = 1000


_LINKED_IN_LIST = 100


_RESOURCES_IN_LIST = 4096  # bytes of them, sealed


async def scope(id_: str) -> Scope | None:
    """A version belongs to its workspace."""
    return await workspaces.scope_of(queries.WORKSPACE_OF, id_)


async def output_scope(id_: str) -> Scope | None:
    """An output belongs to the workspace of its version."""
    return await scope(ids.parted(id_)[0])


async def many(ctx: Context, wanted: Sequence[str]) -> list[Shown]:
    """What `?include=` shows of the versions that the caller may see; without addresses."""
    return await all_shown(ctx, await visible(ctx, wanted), None)


async def visible(ctx: Context, wanted: Sequence[str]) -> list[StateVersion]:
    """Those of the versions that the caller may see."""
    return await queries.visible(ctx.actor, wanted)


async def current_of(ctx: Context, workspace: str) -> StateVersion | None:
    """The present state of a workspace."""
    return await _present(await workspaces.get(ctx, workspace))


async def _present(workspace: Workspace) -> StateVersion | None:
    version = workspace.current_state_version_id
    return await get(version) if version else None


async def read_current(
    ctx: Context, workspace: str
) -> tuple[StateVersion, AsyncIterator[bytes]] | None:
    """The present state with its content; a content that is gone is an error, never empty."""
    found = await current_of(ctx, workspace)
    return (found, ctx.services.blobs.read(found.blob)) if found else None


async def insert(ctx: Context, version: StateVersion) -> None:
    """Write down a version whose content and excerpts are stored."""
    await queries.insert(version)


async def announce(ctx: Context, version: StateVersion) -> None:
    """Write down a version whose content is still to come."""
    await queries.insert(version)


async def rewrite(ctx: Context, version: StateVersion) -> None:
    """Write down a version that has changed."""
    await queries.update(version)


def excerpts_by_size(excerpts: Sequence[Excerpt]) -> tuple[Sequence[Excerpt], Sequence[Excerpt]]:
    """Those to keep before the transaction in which their version counts, and those inside of it.

    Few cost it nothing, and save a commit of their own.
    """
    few = len(excerpts) <= _FEW and sum(len(one.content) for one in excerpts) <= _SMALL
    return ([], excerpts) if few else (excerpts, [])


async def keep_excerpts(ctx: Context, version: str, excerpts: Sequence[Excerpt]) -> None:
    """Write down what a content says of itself, before the version is made to count.

    Where there is much of it, nobody may be waiting for the caller's transaction.
    """
    for at in range(0, len(excerpts), _AT_ONCE):
        some = excerpts[at : at + _AT_ONCE]
        seal = partial(packing.sealed, ctx.services.ring, version, some)
        small = sum(len(one.content) for one in some) <= _SMALL
        await queries.insert_excerpts(version, some, seal() if small else await run_sync(seal))


async def forget_contents(ctx: Context, versions: Sequence[StateVersion]) -> None:
    """Remove contents, after the commit with which they ceased to count."""
    if versions:
        await queries.forget_excerpts([version.id for version in versions])
    for version in versions:
        await ctx.services.blobs.delete(version.blob)


async def digested(ctx: Context, version: StateVersion) -> StateVersion:
    """The version with its count of outputs; one from before there were excerpts gets them now."""
    if version.output_count is not None:
        return version
    try:
        read = await content.again(
            ctx.services.blobs, version.blob, seconds=ctx.settings.states.read_seconds
        )
    except (content.BadState, BlobMissing):
        return version
    await keep_excerpts(ctx, version.id, read.excerpts)
    await queries.set_output_count(version.id, read.output_count)
    return structs.replace(version, output_count=read.output_count)


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


async def find(ctx: Context, id_: str) -> StateVersion | None:
    """A version, if there is one."""
    return await queries.get(id_)


async def locked(id_: str) -> StateVersion:
    """A version, locked until the end of the transaction; its workspace is locked before it."""
    found = await queries.locked(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


async def get(id_: str) -> StateVersion:
    """A version."""
    found = await queries.get(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


async def shown(ctx: Context, version: StateVersion, scope: Scope) -> Shown:
    """The version with its resources and outputs and the addresses that the caller may use."""
    version = await digested(ctx, version)
    resources = await _resources(ctx, [version], None)
    return _shown(ctx, version, scope, resources.get(version.id, []), _LINKED)


async def all_shown(
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
    resources: list[StateResource] | None,
    linked: int,
) -> Shown:
    count = min(version.output_count or 0, linked)
    one = Shown(
        **structs.asdict(version),
        outputs=[ids.part("wsout", version.id, number) for number in range(count)],
        resources=resources or [],
        resources_processed=resources is not None or version.resource_count == 0,
    )
    return signed_urls.with_addresses(ctx, one, scope)


async def _resources(
    ctx: Context, versions: Sequence[StateVersion], bytes_at_most: int | None
) -> Mapping[str, list[StateResource]]:
    found = await queries.resources([version.id for version in versions], bytes_at_most)
    ring = ctx.services.ring
    return {
        version: [r for one in some for r in packing.opened(ring, version, one, StateResource)]
        for version, some in groupby(found, lambda one: one.state_version_id)
    }
