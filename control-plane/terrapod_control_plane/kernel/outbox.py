"""What happened: an outbox row, an audit row and wake-ups, all in the transaction of the change.

Handlers run inside that transaction, so what must not have a gap has none. What may follow later
is done by consumers, which read the outbox behind it: see :mod:`consumers`.
"""

from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from terrapod_control_plane.kernel import db, transaction_end


class Event(Struct, frozen=True, kw_only=True, rename="kebab"):
    """Base of what slices say has happened, in the past tense."""

    kind: ClassVar[str] = ""

    @property
    def subject(self) -> str:
        """The id of what it happened to; the audit record names it."""
        return ""

    @property
    def topics(self) -> tuple[str, ...]:
        """Whom to wake."""
        return ()

    @property
    def changes(self) -> tuple[str, ...]:
        """What this process drops of its caches at commit, before others hear of it."""
        return ()


async def store(emitted: Event, *who: object) -> None:
    """Write the event and its audit row, and wake its topics, at the end of the transaction."""
    row = (emitted.kind, db.encode(emitted), *who, emitted.subject)
    transaction_end.say(row, emitted.topics)


# By where they lie, which is safe for rows that are never changed: no plan reads the whole table.
_TRIM = """
delete from {table}
where ctid = any(array(select ctid from {table} where at < $1 order by at limit $2))
"""


async def trim(before: datetime, at_most: int) -> int:
    """Drop events that nobody will ask for any more; how many they were."""
    return await db.execute(_TRIM.format(table="outbox"), before, at_most)


async def trim_audit(before: datetime, at_most: int) -> int:
    """Drop entries of the audit record that are older than it is kept; how many they were."""
    return await db.execute(_TRIM.format(table="audit_entries"), before, at_most)
