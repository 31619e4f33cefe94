"""Use cases of state versions."""

from collections.abc import AsyncIterator, Sequence
from functools import partial

from anyio.to_thread import run_sync
from msgspec import structs

from terrapod_common import ids
from terrapod_common.errors import NotFound
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Action, Scope
from terrapod_control_plane.kernel.secrets import KeyRing
from terrapod_control_plane.states import addresses, model, queries
from terrapod_control_plane.states.addresses import DOWNLOAD
from terrapod_control_plane.states.events import StateFinalized
from terrapod_control_plane.states.model import Content, Output, ParsedOutput, Shown
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.service import Workspace

StateVersion = model.StateVersion  # for the slices above
_BATCH = 2000
_FEW = 100


# --- reading --------------------------------------------------------------------------------------


@internal
async def scope(id_: str) -> Scope | None:
    """A version belongs to its workspace."""
    workspace = await queries.workspace_of(id_)
    return await workspaces.scope(workspace) if workspace else None


@internal
async def output_scope(id_: str) -> Scope | None:
    """An output belongs to the workspace of its version."""
    workspace = await queries.workspace_of_output(id_)
    return await workspaces.scope(workspace) if workspace else None


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
    return await ctx.parts.blobs.size(version.blob), ctx.parts.blobs.read(version.blob)


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
    return (found, ctx.parts.blobs.read(found.blob)) if found else None


@internal
async def keep(ctx: Context, version: StateVersion, stored: Content) -> None:
    """Write down a version whose content is stored."""
    await queries.insert(version)
    await keep_outputs(ctx, version.id, stored)


@internal
async def announce(ctx: Context, version: StateVersion) -> None:
    """Write down a version whose content is still to come."""
    await queries.insert(version)


@internal
async def rewrite(ctx: Context, version: StateVersion) -> None:
    """Write down a version that has changed."""
    await queries.update(version)


@internal
async def keep_outputs(ctx: Context, version: str, stored: Content) -> None:
    """Write down the outputs of a version, their values sealed."""
    parsed = stored.parsed.outputs
    for at in range(0, len(parsed), _BATCH):
        # Beside the loop: a state may have very many, and every beat of an agent waits for it.
        seal = partial(_outputs, ctx.parts.ring, version, parsed[at : at + _BATCH])
        few = len(parsed) < _FEW
        await queries.insert_outputs(version, seal() if few else await run_sync(seal))


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


def _outputs(ring: KeyRing, version: str, parsed: Sequence[ParsedOutput]) -> list[Output]:
    made = [(ids.new("wsout"), output) for output in parsed]
    return [
        Output(
            id=id_,
            state_version_id=version,
            name=output.name,
            sensitive=output.sensitive,
            type=output.type,
            detailed_type=output.detailed_type,
            sealed=ring.seal(bytes(output.value), f"output:{id_}"),
        )
        for id_, output in made
    ]


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
    """The version with its outputs and the addresses that the caller may use."""
    return (await _all_shown(ctx, [version], scope))[0]


async def _all_shown(
    ctx: Context, versions: Sequence[StateVersion], scope: Scope | None
) -> list[Shown]:
    links = await queries.output_links([version.id for version in versions])
    shown = [
        Shown(
            **structs.asdict(version),
            outputs=[link.id for link in links if link.state_version_id == version.id],
        )
        for version in versions
    ]
    return [addresses.with_addresses(ctx, one, scope) for one in shown]
