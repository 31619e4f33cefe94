"""Use cases of states that people upload."""

import base64
import binascii
from collections.abc import AsyncIterable
from datetime import timedelta

from msgspec.structs import replace

from terrapod_control_plane.kernel import db, epochs, ids
from terrapod_control_plane.kernel.blobs.base import once
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, NotFound, Unprocessable
from terrapod_control_plane.states import content, lifecycle, signed_urls
from terrapod_control_plane.states import internal as states
from terrapod_control_plane.states.events import StateAnnounced
from terrapod_control_plane.states.model import NewState, Shown, StateVersion
from terrapod_control_plane.states.signed_urls import UPLOAD, UPLOAD_JSON
from terrapod_control_plane.states.uploads import queries
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.actions import RUN_READ, STATE_WRITE

_RUN = "/data/relationships/run"


async def create(ctx: Context, workspace: str, wanted: NewState) -> Shown:
    """A new version: final when its content comes along, else pending until that is uploaded."""
    scope = await ctx.must(STATE_WRITE, workspace)
    if wanted.run is not None and (await ctx.must(RUN_READ, wanted.run)).id != workspace:
        raise Unprocessable("The run belongs to another workspace.", pointer=_RUN)
    inline = _inline(ctx, wanted.state) if wanted.state else None
    version = StateVersion(
        id=ids.new("sv"),
        workspace_id=workspace,
        run_id=wanted.run,
        created_by=ctx.actor.id,
        created_at=ctx.now(),
        serial=wanted.serial,
        lineage=wanted.lineage or "",
        md5=wanted.md5.lower(),
        force=bool(wanted.force),
    )
    async with db.transaction():
        version = await _announced(ctx, version)
    if inline is not None and version.status == "pending":
        version = await _receive(ctx, version, once(inline))
    return signed_urls.with_uploads(ctx, await states.shown(ctx, version, scope))


async def _announced(ctx: Context, new: StateVersion) -> StateVersion:
    """The version, or the one that the same request made before."""
    present = await _must_follow(ctx, new)
    if present is not None and lifecycle.is_same(lifecycle.offer(new), present):
        return present
    if before := await queries.pending_like(new):
        return before
    await states.announce(ctx, new)
    await ctx.emit(
        StateAnnounced(state_version=new.id, workspace=new.workspace_id, serial=new.serial)
    )
    return new


async def _must_follow(ctx: Context, version: StateVersion) -> StateVersion | None:
    """The present state, kept as it is; refuses a version that must not come after it."""
    await epochs.must_go_on()
    workspace = await workspaces.lock_row(ctx, version.workspace_id)
    present = await states.current_of(ctx, workspace.id)
    lifecycle.may_write(
        lifecycle.offer(version),
        present,
        locked_by=workspace.locked_by,
        run=workspace.held_by_run_id,
    )
    return present


def _inline(ctx: Context, text: str) -> bytes:
    limit = ctx.settings.states.inline_bytes_at_most
    try:
        plain = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unprocessable("state is not base64", pointer="/data/attributes/state") from error
    if len(plain) > limit:
        raise Unprocessable(
            f"state is longer than {limit} bytes: leave it out and upload it",
            pointer="/data/attributes/state",
        )
    return plain


async def upload(ctx: Context, token: str, chunks: AsyncIterable[bytes]) -> None:
    """The content of a version, from whoever has the address; the same again is fine."""
    id_ = ctx.signed(token, UPLOAD)
    version = await states.get(id_)
    if version.status != "finalized":
        await _receive(ctx, version, chunks)
        return
    await content.compare(chunks, version.md5)


async def upload_by_id(ctx: Context, id_: str, chunks: AsyncIterable[bytes]) -> None:
    """The content of a pending version, once and only as its creator announced it."""
    ctx.public("its creator was allowed to write it, and told the digest of what may be sent")
    version = await _fresh(ctx, id_)
    if version is None or version.status != "pending":
        raise NotFound(f"There is no {id_} that waits for its content.")
    await _receive(ctx, version, chunks)


async def _fresh(ctx: Context, id_: str) -> StateVersion | None:
    version = await states.find(ctx, id_) if ids.kind(id_) == "sv" else None
    latest = ctx.now() - timedelta(hours=ctx.settings.states.upload_hours)
    return version if version is not None and version.created_at >= latest else None


async def upload_json(ctx: Context, token: str, chunks: AsyncIterable[bytes]) -> None:
    """The state in its other form, which nobody needs here."""
    _ = ctx.signed(token, UPLOAD_JSON)
    await _drop(ctx, chunks)


async def drop_by_id(ctx: Context, id_: str, chunks: AsyncIterable[bytes]) -> None:
    """The same without a signed address: of a version that nobody announced nothing is read."""
    ctx.public("nothing is kept of what is sent")
    if await _fresh(ctx, id_) is not None:
        await _drop(ctx, chunks)


async def _drop(ctx: Context, chunks: AsyncIterable[bytes]) -> None:
    """Take a body and keep nothing of it."""
    async for _ in chunks:
        pass


async def _receive(
    ctx: Context, version: StateVersion, chunks: AsyncIterable[bytes]
) -> StateVersion:
    if version.status != "pending":
        raise Conflict(f"The state version {version.id} is {version.status}.")
    seconds = ctx.settings.states.read_seconds
    stored = await content.store(
        ctx.services.blobs, version.blob, chunks, md5=version.md5, seconds=seconds
    )
    if version.lineage not in ("", stored.parsed.lineage):
        raise Unprocessable(
            f"The lineage is {stored.parsed.lineage}, announced was {version.lineage}.",
            pointer="/data/attributes/lineage",
        )
    if version.serial != stored.parsed.serial:
        raise Unprocessable(
            f"The serial is {stored.parsed.serial}, announced was {version.serial}.",
            pointer="/data/attributes/serial",
        )
    announced = replace(version, lineage=stored.parsed.lineage)
    many, few = states.excerpts_by_size(stored.parsed.excerpts)
    await states.keep_excerpts(ctx, version.id, many)
    async with db.transaction():
        await _must_follow(ctx, announced)
        now = await states.locked(version.id)
        if now.status == "finalized":  # the same upload, twice at once
            return now
        if now.status != "pending":
            raise Conflict(f"The state version {version.id} is {now.status}.")
        await states.keep_excerpts(ctx, version.id, few)
        done = lifecycle.finalized(version, stored, ctx.now())
        await states.rewrite(ctx, done)
        await states.make_current(ctx, done)
    return done
