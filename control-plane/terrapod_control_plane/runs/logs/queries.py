"""SQL of log chunks."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.runs.model import Phase


async def between(phase: str, start: int, end: int) -> list[tuple[int, bytes]]:
    """The chunks that hold the bytes from start to end."""
    sql = (
        "select at_byte, sealed from log_chunks where phase_id = $1 and at_byte < $3 "
        "and at_byte + size > $2 order by at_byte"
    )
    return [(row["at_byte"], row["sealed"]) for row in await db.rows(sql, phase, start, end)]


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
    await db.execute("delete from log_chunks where phase_id = $1 and at_byte < $2", phase, size)


async def append(phase: str, at_byte: int, sealed: bytes, size: int, now: datetime) -> None:
    """Store a chunk of a log; the phase's row is locked."""
    await db.execute("insert into log_chunks values ($1, $2, $3, $4)", phase, at_byte, sealed, size)
    await db.execute(
        "update phases set log_size = $2, log_at = $3 where id = $1", phase, at_byte + size, now
    )
