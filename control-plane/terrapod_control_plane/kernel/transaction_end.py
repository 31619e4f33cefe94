"""What a transaction says at its end, in one statement: outbox, audit rows and wake-ups.

Events are collected while use cases go on and written after all rows, so that they cost one round
trip however many they are. A wake-up is heard at commit anyway.
"""

from collections.abc import Callable, Sequence

from terrapod_control_plane.kernel import db, transactions

# kind, payload, at, kind of actor, its id, its name, request, subject; in the order of the emitting
Said = tuple[object, ...]

# The condition comes first, so the transaction has its id before a row takes its own: who sees a
# later row then finds this transaction among those that are open.
_SAY = """
with said as materialized (
    select * from unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[],
        $6::text[], $7::text[], $8::text[]) with ordinality
        as e (kind, payload, at, actor_kind, actor_id, actor_name, request_id, subject, position)),
outbox as (insert into outbox (kind, payload, at, actor_kind, actor_id, request_id)
    select kind, payload::jsonb, at, actor_kind, actor_id, request_id from said
    where pg_current_xact_id() is not null order by position),
trail as (insert into audit_entries
        (at, actor_kind, actor_id, actor_name, request_id, action, subject, detail)
    select at, actor_kind, actor_id, actor_name, request_id, kind, subject, payload::jsonb
    from said order by position)
select pg_notify('terrapod', topic) from unnest($9::text[]) topic
"""
WAKE = "select pg_notify('terrapod', topic) from unnest($1::text[]) topic"


class _End:
    """What is said at the end of one transaction; a participant of it."""

    def __init__(self) -> None:
        self.said: list[Said] = []
        self.topics: list[str] = []

    async def before(self, sql: str) -> None:
        """No statement sees what is said."""

    async def flush(self) -> None:
        """It is said after all rows."""

    async def finish(self) -> None:
        """Say it."""
        said, topics = self.said, list(dict.fromkeys(self.topics))
        self.said, self.topics = [], []
        if said:
            await db.execute(_SAY, *(list(column) for column in zip(*said, strict=True)), topics)
        elif topics:
            await db.execute(WAKE, topics)

    def mark(self) -> Callable[[], None]:
        """How to unsay what is said from now on."""
        said, topics = len(self.said), len(self.topics)

        def back() -> None:
            del self.said[said:], self.topics[topics:]

        return back


def say(row: Said, topics: Sequence[str]) -> None:
    """Write this to outbox and audit and wake the topics, at the end of the transaction.

    Raises:
        RuntimeError: There is no transaction.
    """
    opened = transactions.current()
    if opened is None:
        raise RuntimeError("an event needs a transaction")
    end = opened.participant(_End)
    end.said.append(row)
    end.topics.extend(topics)


async def wake(topics: Sequence[str]) -> None:
    """Wake topics at commit; at once outside of a transaction."""
    opened = transactions.current()
    if opened is None:
        await db.execute(WAKE, list(topics))
    else:
        opened.participant(_End).topics.extend(topics)
