"""Logs, for those who write them."""

import zlib
from collections.abc import AsyncIterator, Sequence

from anyio import to_thread

from terrapod_common import wire
from terrapod_common.logframe import window
from terrapod_common.loops import Backoff, Retries
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import TooLarge
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.logs import queries
from terrapod_control_plane.runs.model import Phase
from terrapod_control_plane.runs.viewers import internal as viewers

_SLACK = 1024 * 1024  # for notes of ours beyond the agent's limit


_SEGMENT = 256 * 1024


# Terraform says a line at a time, each of which comes as a row. So many small ones in a row become
# one, and an answer opens only so many: what is left of it is read with the next.
_JOINED = 32


_SMALL = 8 * 1024


_ROWS_AT_ONCE = 256


_OPENED_HERE = 64 * 1024  # bytes that are opened in the event loop


async def append(ctx: Context, phase: Phase, offset: int, data: bytes) -> wire.LogAnswer:
    """Append at exactly the end; otherwise only say where that is. The phase's row is locked."""
    expected = phase.log_size - phase.log_base
    if offset != expected or not data:
        return wire.LogAnswer(offset=expected)
    _must_fit(ctx, phase, data)
    await _store(ctx, phase, data)
    return wire.LogAnswer(offset=expected + len(data))


async def append_note(ctx: Context, phase: Phase, text: str) -> None:
    """Append a line of the server's own. The phase's row is locked."""
    await _store(ctx, phase, text.encode())


async def append_late(ctx: Context, phase: Phase, mark: bytes, data: bytes) -> None:
    """Append what comes after the end, behind its mark. The phase's row is locked."""
    _must_fit(ctx, phase, data)
    await _store(ctx, phase, mark + data)


def _must_fit(ctx: Context, phase: Phase, data: bytes) -> None:
    # Each claim has all of the limit: what an agent before said is not its successor's.
    if phase.log_size - phase.log_base + len(data) > ctx.settings.runs.log_bytes + _SLACK:
        raise TooLarge("The log is longer than this server keeps.")


async def _store(ctx: Context, phase: Phase, data: bytes) -> None:
    at = phase.log_size
    chunk = (phase.id, at, _sealed(ctx, phase.id, at, data), len(data))
    first = await queries.append(chunk, ctx.now(), _JOINED - 1, _SMALL)
    if first is None or len(data) >= _SMALL:
        return
    rows = await queries.between(phase.id, first, at + len(data), _JOINED)
    joined = await _opened(ctx, phase.id, rows)
    await queries.join(phase.id, first, _sealed(ctx, phase.id, first, joined), len(joined))


def _sealed(ctx: Context, phase: str, at: int, data: bytes) -> bytes:
    return ctx.services.ring.seal(data, f"log:{phase}:{at}")


async def read(ctx: Context, phase_id: str, offset: int, limit: int) -> bytes:
    """A framed cut of a phase's log, or the beginning of that; empty beyond its end."""
    # The row is read first: chunks that come later are simply not part of this cut.
    found = await runs_queries.phases([phase_id])
    if not found:
        return b""
    phase = found[0]
    cut = window(offset, limit, phase.log_size, complete=phase.log_complete)
    found_bytes = await _bytes(ctx, phase, cut.start, cut.length)
    suffix = cut.suffix if len(found_bytes) == cut.length else b""
    await viewers.reads(ctx, phase, end=bool(suffix))
    return cut.prefix + found_bytes + suffix


async def _bytes(ctx: Context, phase: Phase, start: int, length: int) -> bytes:
    # The first of them at least; all of them unless they lie in very many rows.
    if length <= 0:
        return b""
    if phase.log_index is not None and not phase.late_size and phase.late_at is None:
        return await _archived(ctx, phase, start, length)
    end = start + length
    rows = await queries.between(phase.id, start, end, _ROWS_AT_ONCE)
    data = await _opened(ctx, phase.id, rows)
    # What came after the archive was made lies in rows behind it.
    rows_at = rows[0][0] if rows else end
    if start < rows_at:
        known = phase if phase.log_index is not None else await runs_queries.phase(phase.id)
        before = await _archived(ctx, known, start, rows_at - start) if known else b""
        return (before + data)[:length]
    return data[start - rows_at :][:length]


async def _opened(ctx: Context, phase_id: str, rows: Sequence[tuple[int, bytes]]) -> bytes:
    def opened() -> bytes:
        ring = ctx.services.ring
        return b"".join(ring.open(sealed, f"log:{phase_id}:{at}") for at, sealed in rows)

    few = sum(len(sealed) for _, sealed in rows) <= _OPENED_HERE
    return opened() if few else await to_thread.run_sync(opened)


async def _archived(ctx: Context, phase: Phase, start: int, length: int) -> bytes:
    index: Sequence[tuple[int, int, int]] = phase.log_index or ()
    bounds = [*(segment[0] for segment in index[1:]), phase.log_size]  # or where late rows begin
    found = bytearray()
    first: int | None = None
    for (at, blob_start, blob_length), end in zip(index, bounds, strict=True):
        if at < start + length and end > start:
            first = at if first is None else first
            stored = bytearray()
            async for part in ctx.services.blobs.read(_key(phase), blob_start, blob_length):
                stored += part
            found += await to_thread.run_sync(zlib.decompress, bytes(stored))
    return bytes(found[start - (first or 0) :][:length])


def _key(phase: Phase) -> str:
    return f"log/{phase.workspace_id}/{phase.id}"


async def archive(ctx: Context, retries: Retries | None = None) -> None:
    """Put the logs of ended phases from rows into blobs; one that can't be keeps no other."""
    retries = retries or Retries(Backoff())
    found = {phase.id: phase for phase in await queries.to_archive(retries.waiting)}
    await retries.each(found, lambda id_: _archive(ctx, found[id_]))


async def _archive(ctx: Context, phase: Phase) -> None:
    index: list[tuple[int, int, int]] = []
    await ctx.services.blobs.put(_key(phase), _compressed(ctx, phase, index))
    async with db.transaction():
        await queries.archived(phase.id, index, phase.log_size)


async def _compressed(
    ctx: Context, phase: Phase, index: list[tuple[int, int, int]]
) -> AsyncIterator[bytes]:
    at = written = 0
    while at < phase.log_size:
        length = min(_SEGMENT, phase.log_size - at)
        packed = await to_thread.run_sync(zlib.compress, await _all(ctx, phase, at, length), 6)
        index.append((at, written, len(packed)))
        written += len(packed)
        at += length
        yield packed


async def _all(ctx: Context, phase: Phase, start: int, length: int) -> bytes:
    found = bytearray()
    while piece := await _bytes(ctx, phase, start + len(found), length - len(found)):
        found += piece
    return bytes(found)
