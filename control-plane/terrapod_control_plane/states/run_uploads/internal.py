"""States that runs write."""

from collections.abc import AsyncIterable
from datetime import datetime

from msgspec import structs

from terrapod_common.loops import each
from terrapod_control_plane.kernel import db, ids
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Refused, Unavailable
from terrapod_control_plane.states import content, lifecycle
from terrapod_control_plane.states import internal as states
from terrapod_control_plane.states.events import StateRecovered
from terrapod_control_plane.states.model import Content, Saved, StateVersion, Writer
from terrapod_control_plane.states.run_uploads import queries
from terrapod_control_plane.workspaces import internal as workspaces

_ON_THE_WAY = 2  # states of a run under way that are kept, with the present one


_AT_ONCE = 100


async def save_from_run(
    ctx: Context, writer: Writer, chunks: AsyncIterable[bytes], *, final: bool
) -> Saved:
    """A run's state becomes the present one; the last one replaces those on the way.

    Of those only the newest are kept meanwhile, for a long apply would fill any disk.
    """
    workspace, run = writer.workspace, writer.run
    new = structs.replace(_of_run(ctx, workspace, run), intermediate=not final)
    stored = await _stored(ctx, new, chunks)
    pruned: list[StateVersion] = []
    many, few = states.excerpts_by_size(stored.parsed.excerpts)
    await states.keep_excerpts(ctx, new.id, many)
    try:
        async with db.transaction():
            await workspaces.lock_row(ctx, workspace)
            await writer.still()
            kept = await _follow_run(ctx, _filled(ctx, new, stored))
            if kept.id == new.id:
                await states.keep_excerpts(ctx, new.id, few)
            pruned = await queries.prune(run, kept.id, 0 if final else _ON_THE_WAY)
    except Refused:
        await states.forget_contents(ctx, [new])
        raise
    await states.forget_contents(ctx, [*pruned, *([] if kept.id == new.id else [new])])
    return Saved(version=kept.id, size=stored.size, sha256=stored.sha256)


async def _stored(ctx: Context, new: StateVersion, chunks: AsyncIterable[bytes]) -> Content:
    seconds = ctx.settings.states.read_seconds
    try:
        return await content.store(ctx.services.blobs, new.blob, chunks, seconds=seconds)
    except Unavailable:
        await ctx.services.blobs.delete(new.blob)  # it comes again under another key
        raise


async def _follow_run(ctx: Context, new: StateVersion) -> StateVersion:
    """The version that holds this state now: the new one, or the present one if it is the same."""
    present = await states.current_of(ctx, new.workspace_id)
    lifecycle.continues(new, present)
    if present is None or not lifecycle.is_same(new, present):
        await states.insert(ctx, new)
        await states.make_current(ctx, new)
        return new
    kept = structs.replace(present, intermediate=present.intermediate and new.intermediate)
    await states.rewrite(ctx, kept)
    return kept


async def save_recovered(
    ctx: Context, workspace: str, run: str, chunks: AsyncIterable[bytes]
) -> Saved:
    """Keep a state that came after its run had ended, beside the present one."""
    new = _of_run(ctx, workspace, run)
    stored = await _stored(ctx, new, chunks)
    new = structs.replace(_filled(ctx, new, stored), status="recovered")
    await states.keep_excerpts(ctx, new.id, stored.parsed.excerpts)
    async with db.transaction():
        await workspaces.lock_row(ctx, workspace)
        before = await queries.recovered_of(run)
        if before is None or not lifecycle.is_same(new, before):
            await states.insert(ctx, new)
            await ctx.emit(
                StateRecovered(
                    state_version=new.id, workspace=workspace, serial=new.serial, run=run
                )
            )
            before = new
        kept = ctx.settings.retention.recovered_states
        surplus = await queries.prune_recovered(run, kept)
    await states.forget_contents(ctx, [*surplus, *([] if before.id == new.id else [new])])
    return Saved(version=before.id, size=stored.size, sha256=stored.sha256)


async def forget_passed(ctx: Context, before: datetime) -> None:
    """Remove what runs had saved on their way and went on from, where no last state came.

    What a workspace has now stays, and the newest of each run.
    """
    while await _some_passed(ctx, before):
        pass


async def _some_passed(ctx: Context, before: datetime) -> int:
    gone: list[StateVersion] = []

    async def forget(version: StateVersion) -> None:
        async with db.transaction():
            workspace = await workspaces.lock_row(ctx, version.workspace_id)
            if workspace.current_state_version_id == version.id:
                return
            if not await queries.remove(version.id):
                return
        await states.forget_contents(ctx, [version])
        gone.append(version)

    await each(await queries.passed(before, _AT_ONCE), forget)
    return len(gone)


async def recovered_of(ctx: Context, run: str) -> StateVersion | None:
    """The last state that came after this run had ended."""
    return await queries.recovered_of(run)


async def current(ctx: Context, workspace: str) -> StateVersion | None:
    """The state that a workspace has now."""
    return await states.current_of(ctx, workspace)


async def newest_of(ctx: Context, run: str) -> StateVersion | None:
    """The state of a run that came last, in its turn or late."""
    return await queries.newest_of(run)


async def has_final(ctx: Context, run: str) -> bool:
    """Whether the last state of a run is there, so that nothing is left to come."""
    return await queries.has_final(run)


async def adopt_recovered(ctx: Context, workspace: str, run: str) -> StateVersion | None:
    """Make the state that came after a run had ended the present one."""
    async with db.transaction():
        await workspaces.lock_row(ctx, workspace)
        present = await states.current_of(ctx, workspace)
        found = await queries.recovered_of(run)
        if found is None:
            return None
        lifecycle.continues(found, present)
        done = structs.replace(found, status="finalized", finalized_at=ctx.now())
        await states.rewrite(ctx, done)
        await states.make_current(ctx, done)
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
