"""What happened: an outbox row, an audit row and wake-ups, all in the transaction of the change.

Handlers run inside that transaction, so what must not have a gap has none. What may follow later
is the work of :mod:`consumers`, which read the outbox behind the transactions.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from terrapod_control_plane.kernel import db, transaction_end

# Woken in this process by each commit with events, however many; consumers are told soon after.
COMMITTED = "outbox.committed"


class Event(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Base of what slices say has happened, in the past tense.

    Rows outlive versions: a field that is added later has a default.
    """

    kind: ClassVar[str] = ""

    @property
    def subject(self) -> str:
        """The id of what it happened to; the audit record names it."""
        return ""

    @property
    def topics(self) -> tuple[str, ...]:
        """Whom to wake besides consumers."""
        return ()

    @property
    def changes(self) -> tuple[str, ...]:
        """What this process drops of its caches at commit, before others hear of it."""
        return ()


def known_events() -> Mapping[str, type[Event]]:
    """The events of all modules that are imported, by their kinds."""
    return {event.kind: event for event in _below(Event) if event.kind}


def _below(event: type[Event]) -> Iterator[type[Event]]:
    for one in event.__subclasses__():
        yield one
        yield from _below(one)


async def store(emitted: Event, *who: object) -> None:
    """Write the event and its audit row, and wake its topics, at the end of the transaction.

    A commit that notifies waits for every other one that does, so events without a topic do not.
    """
    row = (emitted.kind, db.encode(emitted), *who, emitted.subject)
    transaction_end.say(row, emitted.topics)


# By where they lie, which is safe for rows that are never changed: no plan reads the whole table.
_TRIM = """
delete from {table}
where ctid = any(array(select ctid from {table} where at < $1 {kept} order by at limit $2))
"""
_DONE = "and id <= (select coalesce(min(event), 9223372036854775807) from outbox_cursors)"


async def trim(before: datetime, at_most: int) -> int:
    """Drop events that every consumer is done with; how many they were."""
    return await db.execute(_TRIM.format(table="outbox", kept=_DONE), before, at_most)


async def trim_unread(before: datetime, at_most: int) -> int:
    """Drop events, read or not; how many they were."""
    return await db.execute(_TRIM.format(table="outbox", kept=""), before, at_most)


async def trim_audit(before: datetime, at_most: int) -> int:
    """Drop entries of the audit record that are older than it is kept; how many they were."""
    return await db.execute(_TRIM.format(table="audit_entries", kept=""), before, at_most)
