"""Logs: chunks at byte offsets while a phase runs, one compressed blob after its end."""

import zlib
from collections.abc import AsyncIterator, Sequence

from terrapod_common import wire
from terrapod_common.errors import TooLarge
from terrapod_common.logframe import window
from terrapod_common.loops import Backoff, Retries
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.runs import queries, viewers
from terrapod_control_plane.runs.logs import queries as chunks
from terrapod_control_plane.runs.model import Phase

_SLACK = 1024 * 1024  # for notes of ours beyond the agent's limit
_SEGMENT = 256 * 1024


@internal
async def append(ctx: Context, phase: Phase, offset: int, data: bytes) -> wire.LogAnswer:
    """Append at exactly the end; otherwise only say where that is. The phase's row is locked."""
    expected = phase.log_size - phase.log_base
    if offset != expected or not data:
        return wire.LogAnswer(offset=expected)
    _must_fit(ctx, phase, data)
    await _store(ctx, phase, data)
    return wire.LogAnswer(offset=expected + len(data))


@internal
async def append_note(ctx: Context, phase: Phase, text: str) -> None:
    """Append a line of the server's own. The phase's row is locked."""
    await _store(ctx, phase, text.encode())


@internal
async def append_late(ctx: Context, phase: Phase, mark: bytes, data: bytes) -> None:
    """Append what comes after the end, behind its mark. The phase's row is locked."""
    _must_fit(ctx, phase, data)
    await _store(ctx, phase, mark + data)


def _must_fit(ctx: Context, phase: Phase, data: bytes) -> None:
    # Each claim has all of the limit: what an agent before said is not its successor's.
    if phase.log_size - phase.log_base + len(data) > ctx.settings.runs.log_bytes + _SLACK:
        raise TooLarge("The log is longer than this server keeps.")


async def _store(ctx: Context, phase: Phase, data: bytes) -> None:
    sealed = ctx.parts.ring.seal(data, f"log:{phase.id}:{phase.log_size}")
    await chunks.append(phase.id, phase.log_size, sealed, len(data), ctx.now())


@internal
async def read(ctx: Context, phase_id: str, offset: int, limit: int) -> bytes:
    """A framed cut of a phase's log; empty beyond its end."""
    # The row is read first: chunks that come later are simply not part of this cut.
    found = await queries.phases([phase_id])
    if not found:
        return b""
    phase = found[0]
    cut = window(offset, limit, phase.log_size, complete=phase.log_complete)
    await viewers.reads(ctx, phase, end=bool(cut.suffix))
    return cut.prefix + await _bytes(ctx, phase, cut.start, cut.length) + cut.suffix


async def _bytes(ctx: Context, phase: Phase, start: int, length: int) -> bytes:
    if length <= 0:
        return b""
    if phase.log_index is not None and not phase.late_size and phase.late_at is None:
        return await _archived(ctx, phase, start, length)
    end = start + length
    parts = [(at, data) async for at, data in _chunks(ctx, phase.id, start, end)]
    # What came after the archive was made lies in rows behind it.
    rows_at = parts[0][0] if parts else end
    if start < rows_at:
        known = phase if phase.log_index is not None else await queries.phase(phase.id)
        before = await _archived(ctx, known, start, rows_at - start) if known else b""
        return (before + b"".join(data for _, data in parts))[:length]
    return b"".join(data for _, data in parts)[start - rows_at :][:length]


async def _chunks(
    ctx: Context, phase_id: str, start: int, end: int
) -> AsyncIterator[tuple[int, bytes]]:
    for at, sealed in await chunks.between(phase_id, start, end):
        yield at, ctx.parts.ring.open(sealed, f"log:{phase_id}:{at}")


async def _archived(ctx: Context, phase: Phase, start: int, length: int) -> bytes:
    index: Sequence[tuple[int, int, int]] = phase.log_index or ()
    bounds = [*(segment[0] for segment in index[1:]), phase.log_size]  # or where late rows begin
    found = bytearray()
    first: int | None = None
    for (at, blob_start, blob_length), end in zip(index, bounds, strict=True):
        if at < start + length and end > start:
            first = at if first is None else first
            stored = bytearray()
            async for part in ctx.parts.blobs.read(_key(phase), blob_start, blob_length):
                stored += part
            found += zlib.decompress(bytes(stored))
    return bytes(found[start - (first or 0) :][:length])


def _key(phase: Phase) -> str:
    return f"log/{phase.workspace_id}/{phase.id}"


@internal
async def archive(ctx: Context, retries: Retries | None = None) -> None:
    """Put the logs of ended phases from rows into blobs; one that can't be keeps no other."""
    retries = retries or Retries(Backoff())
    found = {phase.id: phase for phase in await chunks.to_archive(retries.waiting)}
    await retries.each(found, lambda id_: _archive(ctx, found[id_]))


async def _archive(ctx: Context, phase: Phase) -> None:
    index: list[tuple[int, int, int]] = []
    await ctx.parts.blobs.put(_key(phase), _compressed(ctx, phase, index))
    async with db.transaction():
        await chunks.archived(phase.id, index, phase.log_size)


async def _compressed(
    ctx: Context, phase: Phase, index: list[tuple[int, int, int]]
) -> AsyncIterator[bytes]:
    at = written = 0
    while at < phase.log_size:
        length = min(_SEGMENT, phase.log_size - at)
        packed = zlib.compress(await _bytes(ctx, phase, at, length), 6)
        index.append((at, written, len(packed)))
        written += len(packed)
        at += length
        yield packed
