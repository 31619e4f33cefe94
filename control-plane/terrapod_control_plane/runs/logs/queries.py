"""SQL of log chunks."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.runs.model import Phase

_BETWEEN = """
select at_byte, sealed from log_chunks where phase_id = $1 and at_byte < $3 and at_byte + size > $2
  and at_byte >= coalesce((
    select max(at_byte) from log_chunks where phase_id = $1 and at_byte <= $2), $2)
order by at_byte limit $4
"""


async def between(phase: str, start: int, end: int, at_most: int) -> list[tuple[int, bytes]]:
    """The chunks that hold the bytes from start to end, so many of them at most."""
    found = await db.rows(_BETWEEN, phase, start, end, at_most)
    return [(row["at_byte"], row["sealed"]) for row in found]


_TO_ARCHIVE = """
select * from phases where log_complete and log_index is null and log_size > 0
  and not id = any($1) limit 20
"""


async def to_archive(waiting: Sequence[str] = ()) -> list[Phase]:
    """Ended phases whose log still lies in rows, but for those that are to wait."""
    return await db.many(Phase, _TO_ARCHIVE, waiting)


async def archived(phase: str, index: list[tuple[int, int, int]], size: int) -> None:
    """The blob is there: note where its segments are and drop the rows, but not what came late."""
    await db.execute("update phases set log_index = $2::jsonb where id = $1", phase, index)
    sql = "delete from log_chunks where phase_id = $1 and at_byte < $2 and at_byte + size <= $2"
    await db.execute(sql, phase, size)


# A row that this statement adds is not yet seen by its other part.
_APPEND = """
with stored as (insert into log_chunks values ($1, $2, $3, $4))
select min(at_byte) from (
    select at_byte, size from log_chunks where phase_id = $1 order by at_byte desc limit $5) last
having count(*) = $5 and bool_and(size < $6)
"""


async def append(
    chunk: tuple[str, int, bytes, int], now: datetime, before: int, small: int
) -> int | None:
    """Store a chunk of a log; where so many rows before it begin if all are smaller than that.

    The phase's row is locked.
    """
    phase, at_byte, _, size = chunk
    first: int | None = await db.value(_APPEND, *chunk, before, small)
    await db.execute(
        "update phases set log_size = $2, log_at = $3 where id = $1", phase, at_byte + size, now
    )
    return first


async def join(phase: str, first: int, sealed: bytes, size: int) -> None:
    """Put one chunk in the place of all from there; the phase's row is locked."""
    await db.execute("delete from log_chunks where phase_id = $1 and at_byte >= $2", phase, first)
    await db.execute("insert into log_chunks values ($1, $2, $3, $4)", phase, first, sealed, size)
