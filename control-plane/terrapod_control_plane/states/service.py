"""Use cases of state versions."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence

from msgspec import structs

from terrapod_common import ids
from terrapod_common.errors import NotFound, Refused
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Action, Scope
from terrapod_control_plane.states import addresses, content, lifecycle, model, queries
from terrapod_control_plane.states.addresses import DOWNLOAD
from terrapod_control_plane.states.events import StateFinalized, StateRecovered
from terrapod_control_plane.states.model import Content, Output, ParsedOutput, Saved, Shown, Writer
from terrapod_control_plane.workspaces import service as workspaces

StateVersion = model.StateVersion  # for the slices above


# --- reading --------------------------------------------------------------------------------------


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
    found = await queries.current(workspace)
    if found is None:
        raise NotFound(f"The workspace {workspace} has no state.")
    return await shown(ctx, found, scope)


@internal
async def many(ctx: Context, wanted: Sequence[str]) -> list[Shown]:
    """What `?include=` shows of the versions that the caller may see; without addresses."""
    return await _all_shown(ctx, await queries.many(ctx.actor.sees, wanted), None)


async def download_url(ctx: Context, id_: str) -> str:
    """Where the content of a version can be had for a while."""
    await ctx.must(Action.STATE_DOWNLOAD, id_)
    return addresses.of(ctx, DOWNLOAD, (await get(id_)).id)


@internal
async def download(ctx: Context, token: str) -> tuple[int, AsyncIterator[bytes]]:
    """The size and the content of a version, for whoever has the address."""
    version = await get(addresses.opened(ctx, token, DOWNLOAD))
    return await ctx.parts.blobs.size(version.blob), ctx.parts.blobs.read(version.blob)


# --- for the slices above, which have asked for permission ----------------------------------------


@internal
async def current_of(ctx: Context, workspace: str) -> StateVersion | None:
    """The present state of a workspace."""
    return await queries.current(workspace)


@internal
async def read_current(
    ctx: Context, workspace: str
) -> tuple[StateVersion, AsyncIterator[bytes]] | None:
    """The present state with its content; a content that is gone is an error, never empty."""
    found = await queries.current(workspace)
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
    new = [_output(ctx, version, output) for output in stored.parsed.outputs]
    await queries.insert_outputs(version, new)


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


def _output(ctx: Context, version: str, parsed: ParsedOutput) -> Output:
    id_ = ids.new("wsout")
    return Output(
        id=id_,
        state_version_id=version,
        name=parsed.name,
        sensitive=parsed.sensitive,
        type=parsed.type,
        detailed_type=parsed.detailed_type,
        sealed=ctx.parts.ring.seal(bytes(parsed.value), f"output:{id_}"),
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


# --- what runs write; their callers have checked that the run may ---------------------------------


@internal
async def save_from_run(
    ctx: Context, writer: Writer, chunks: AsyncIterable[bytes], *, final: bool
) -> Saved:
    """A run's state becomes the present one; the last one replaces those on the way."""
    workspace, run = writer.workspace, writer.run
    new = structs.replace(_of_run(ctx, workspace, run), intermediate=not final)
    stored = await content.store(ctx.parts.blobs, new.blob, chunks)
    pruned: list[StateVersion] = []
    try:
        async with db.transaction():
            await workspaces.lock_row(ctx, workspace)
            await writer.still()
            kept = await _follow_run(ctx, _filled(ctx, new, stored), stored)
            if final:
                pruned = await queries.prune(run, kept.id)
    except Refused:
        await ctx.parts.blobs.delete(new.blob)
        raise
    for gone in [*pruned, *([] if kept.id == new.id else [new])]:
        await ctx.parts.blobs.delete(gone.blob)
    return Saved(version=kept.id, size=stored.size, sha256=stored.sha256)


async def _follow_run(ctx: Context, new: StateVersion, stored: Content) -> StateVersion:
    """The version that holds this state now: the new one, or the present one if it is the same."""
    present = await queries.current(new.workspace_id)
    lifecycle.continues(new, present)
    if present is None or not lifecycle.is_same(new, present):
        await keep(ctx, new, stored)
        await make_current(ctx, new)
        return new
    kept = structs.replace(present, intermediate=present.intermediate and new.intermediate)
    await queries.update(kept)
    return kept


@internal
async def save_recovered(
    ctx: Context, workspace: str, run: str, chunks: AsyncIterable[bytes]
) -> Saved:
    """Keep a state that came after its run had ended, beside the present one."""
    new = _of_run(ctx, workspace, run)
    stored = await content.store(ctx.parts.blobs, new.blob, chunks)
    new = structs.replace(_filled(ctx, new, stored), status="recovered")
    async with db.transaction():
        await workspaces.lock_row(ctx, workspace)
        before = await queries.recovered_of(run)
        if before is None or not lifecycle.is_same(new, before):
            await keep(ctx, new, stored)
            await ctx.emit(
                StateRecovered(
                    state_version=new.id, workspace=workspace, serial=new.serial, run=run
                )
            )
            before = new
    if before.id != new.id:
        await ctx.parts.blobs.delete(new.blob)
    return Saved(version=before.id, size=stored.size, sha256=stored.sha256)


@internal
async def recovered_of(ctx: Context, run: str) -> StateVersion | None:
    """The last state that came after this run had ended."""
    return await queries.recovered_of(run)


@internal
async def adopt_recovered(ctx: Context, workspace: str, run: str) -> StateVersion | None:
    """Make the state that came after a run had ended the present one."""
    async with db.transaction():
        await workspaces.lock_row(ctx, workspace)
        found = await queries.recovered_of(run)
        if found is None:
            return None
        lifecycle.continues(found, await queries.current(workspace))
        done = structs.replace(found, status="finalized", finalized_at=ctx.now())
        await queries.update(done)
        await make_current(ctx, done)
    return done


def _of_run(ctx: Context, workspace: str, run: str) -> StateVersion:
    return StateVersion(
        id=ids.new("sv"),
        workspace_id=workspace,
        run_id=run,
        created_by=None,
        created_at=ctx.now(),
        serial=0,
        lineage="",
        md5="",
    )


def _filled(ctx: Context, version: StateVersion, stored: Content) -> StateVersion:
    done = lifecycle.finalized(version, stored, ctx.now())
    return structs.replace(done, serial=stored.parsed.serial)
