"""How far consumers are behind, for operators."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from terrapod_control_plane.kernel import db


class Lag(Struct, frozen=True, kw_only=True):
    """What one consumer has still to do, and what it has given up."""

    consumer: str
    behind: int  # events; of many only about so many
    oldest_at: datetime | None  # of the events that it is behind
    attempts: int  # in vain, at the oldest
    error: str
    dead_letters: int

    def age(self, now: datetime) -> float:
        """Seconds since the oldest event that is not done has happened."""
        return 0.0 if self.oldest_at is None else (now - self.oldest_at).total_seconds()


# Few are counted; of many the ids tell enough, though some were rolled back.
_LAGS = """
select c.consumer, c.attempts, c.error,
    case when few.n < 500 then few.n else
        (select id from outbox where id > c.event order by id desc limit 1) - c.event end as behind,
    (select at from outbox where id > c.event order by id limit 1) as oldest_at,
    (select count(*) from outbox_dead_letters d where d.consumer = c.consumer) as dead_letters
from outbox_cursors c, lateral (
    select count(*) as n from (select from outbox where id > c.event limit 500) one) few
order by c.consumer
"""


async def lags() -> Sequence[Lag]:
    """Each consumer's, by their names."""
    return await db.many(Lag, _LAGS)
