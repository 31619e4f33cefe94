"""SQL of what came late."""

from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.runs.model import Phase


async def received(phase: str, size: int) -> None:
    """Note how much of a log came late; the phase's row is locked."""
    await db.execute("update phases set late_size = $2 where id = $1", phase, size)


async def finished(phase: str, now: datetime) -> None:
    """The agent of a lost phase has said everything; the phase's row is locked."""
    await db.execute("update phases set late_at = $2 where id = $1", phase, now)


async def unheard(listener: str) -> list[Phase]:
    """Applies that an agent was given up with and has said nothing of."""
    sql = (
        "select * from phases where listener_id = $1 and lost_fence is not null "
        "and late_at is null and kind = 'apply' order by id"
    )
    return await db.many(Phase, sql, listener)
