"""How far a consumer has come in the outbox, and what it may read next.

The order is that of the ids, which a transaction takes while it holds the locks of what it
changes: what follows from an event has a higher id than it. But ids are committed in any order.
A row whose predecessor is there, or done, may be read at once. Behind a gap may be a
transaction that is still open: then nothing behind the gap is read before every transaction has
ended that was open when it was seen (``pg_snapshot_xmin``), and rows that are still missing
then were rolled back.

Ids stay what they are in a backup, other than those of transactions, so a restored database
needs no care here.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.locks import LockSession

_AT_ONCE = 200


class StoredEvent(Struct, frozen=True, kw_only=True):
    """A row of the outbox or of the dead letters; no payload where the consumer does not ask."""

    id: int
    kind: str
    payload: str | None
    at: datetime
    actor_kind: str
    actor_id: str
    request_id: str
    attempts: int = 0


class Gap(Struct, frozen=True):
    """Ids up to ``below`` may be missing as long as a transaction up to ``transaction`` is open."""

    below: int
    transaction: str


_PRESENT = """
insert into outbox_cursors (consumer, event, moved_at)
select name, (select coalesce(max(id), 0) from outbox), $2 from unnest($1::text[]) name
on conflict (consumer) do nothing
"""
_READ = """
select id, kind, case when kind = any($2::text[]) then payload::text end as payload, at,
    actor_kind, actor_id, request_id
from outbox where id > $1 order by id limit $3
"""
# A new id is taken, for a snapshot alone does not know the transactions that have just begun.
_MARK = "select pg_current_xact_id()::text as transaction"
_PASSED = "select pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8 as passed"
# A cursor never goes back, and is made again where somebody has removed it.
_MOVE = """
insert into outbox_cursors as c (consumer, event, moved_at, attempts, error)
values ($1, $2, $3, $4, $5)
on conflict (consumer) do update set event = greatest(c.event, excluded.event),
    moved_at = excluded.moved_at, attempts = excluded.attempts, error = excluded.error
"""
_BURY = """
with buried as (insert into outbox_dead_letters (consumer, event, kind, payload, at, actor_kind,
        actor_id, request_id, died_at, attempts, error)
    select $1, id, kind, payload, at, actor_kind, actor_id, request_id, $3, $4, $5
    from outbox where id = $2
    on conflict (consumer, event) do nothing)
update outbox_cursors set event = greatest(event, $2), moved_at = $3, attempts = 0, error = ''
where consumer = $1
"""
_WANTED = """
select event as id, kind, payload::text as payload, at, actor_kind, actor_id, request_id, attempts
from outbox_dead_letters where consumer = $1 and retry order by event limit $2
"""
_REVIVED = "delete from outbox_dead_letters where consumer = $1 and event = $2"
_DEAD_AGAIN = """
update outbox_dead_letters set retry = false, attempts = $3, error = $4
where consumer = $1 and event = $2
"""


async def register(consumers: Sequence[str], now: datetime) -> None:
    """Let new consumers begin at the present, and forget those that there are no more."""
    async with db.transaction():
        await db.execute("delete from outbox_cursors where consumer <> all($1)", consumers)
        await db.execute(_PRESENT, consumers, now)


class Cursor:
    """The place of one consumer in the outbox; its lock is held as long as this is used.

    Everything goes through the session of the lock: who has lost it can write nothing.
    """

    def __init__(self, session: LockSession, consumer: str, kinds: Sequence[str]) -> None:
        self.done = 0  # the last event that is done
        self.attempts = 0  # in vain, at the one after it
        self._saved = 0
        self._session = session
        self._consumer = consumer
        self._kinds = [*kinds]
        self._settled = 0  # up to this id nothing can appear any more
        self._gap: Gap | None = None

    async def open(self, now: datetime) -> None:
        """Go where this consumer had come to."""
        await self._session.rows(_PRESENT, [self._consumer], now)
        sql = "select event, attempts from outbox_cursors where consumer = $1"
        (found,) = await self._session.rows(sql, self._consumer)
        self.done = self._saved = self._settled = found["event"]
        self.attempts = found["attempts"]

    @property
    def at_a_gap(self) -> bool:
        """Whether there is more behind a gap, which is told by nobody when it is none."""
        return self._gap is not None

    async def following(self) -> list[StoredEvent]:
        """Some of the events that come next, in their order."""
        if self._gap is not None and await self._passed(self._gap):
            self._settled, self._gap = self._gap.below, None
        rows = await self._session.rows(_READ, self.done, self._kinds, _AT_ONCE)
        found = [db.model(row, StoredEvent) for row in rows]
        ready = _without_gap(found, self.done, self._settled)
        reached = ready[-1].id if ready else self.done
        if len(ready) == len(found):
            self._gap = None
        elif self._gap is None or self._gap.below <= reached:
            self._gap = await self._mark(found[-1].id)
        return ready

    def finish(self, event: int) -> None:
        """The next event is done."""
        self.done, self.attempts = event, 0

    async def save(self, now: datetime) -> None:
        """Remember what is done."""
        if self.done > self._saved:
            await self._move(now, "")
            self._saved = self.done

    async def failed(self, error: str, now: datetime) -> int:
        """Remember an attempt in vain at the next event; how many they are."""
        self.attempts += 1
        await self._move(now, error)
        self._saved = self.done
        return self.attempts

    async def give_up(self, event: StoredEvent, error: str, now: datetime) -> None:
        """Put the next event to the dead letters and go on behind it, both or none."""
        about = (self._consumer, event.id, now, self.attempts, error)
        await self._session.rows(_BURY, *about)
        self.finish(event.id)
        self._saved = event.id

    async def wanted(self) -> list[StoredEvent]:
        """Dead letters that an operator wants to be tried again."""
        rows = await self._session.rows(_WANTED, self._consumer, _AT_ONCE)
        return [db.model(row, StoredEvent) for row in rows]

    async def revived(self, letter: StoredEvent) -> None:
        """A dead letter is done after all."""
        await self._session.rows(_REVIVED, self._consumer, letter.id)

    async def dead_again(self, letter: StoredEvent, error: str) -> None:
        """Another attempt at a dead letter was in vain."""
        about = (self._consumer, letter.id, letter.attempts + 1, error)
        await self._session.rows(_DEAD_AGAIN, *about)

    async def _move(self, now: datetime, error: str) -> None:
        attempts = self.attempts if error else 0
        await self._session.rows(_MOVE, self._consumer, self.done, now, attempts, error)

    async def _mark(self, below: int) -> Gap:
        (row,) = await self._session.rows(_MARK)
        return Gap(below, row["transaction"])

    async def _passed(self, gap: Gap) -> bool:
        (row,) = await self._session.rows(_PASSED, gap.transaction)
        return bool(row["passed"])


def _without_gap(found: Sequence[StoredEvent], done: int, settled: int) -> list[StoredEvent]:
    ready: list[StoredEvent] = []
    for event in found:
        if event.id != done + 1 and event.id > settled:
            break
        ready.append(event)
        done = event.id
    return ready
