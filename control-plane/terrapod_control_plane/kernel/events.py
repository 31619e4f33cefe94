"""What happened: an outbox row and a wake-up, both in the transaction of the change.

Handlers run inside that transaction, so what must not have a gap has none. A wake-up reaches
every process at commit and carries no data but a topic: whoever waits looks again.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import anyio
import asyncpg
import structlog
from msgspec import Struct

from terrapod_control_plane.kernel import db

T = TypeVar("T")
CHANNEL = "terrapod"
_KEEP_ALIVE = 10.0

log = structlog.get_logger()


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


_EMIT = """
with outbox as (insert into outbox (kind, payload, at) values ($1, $2, $3)),
     trail as (insert into audit_entries
                   (at, actor_kind, actor_id, actor_name, request_id, action, subject, detail)
               values ($3, $4, $5, $6, $7, $1, $8, $2))
select pg_notify('terrapod', topic) from unnest($9::text[]) topic
"""


async def store(emitted: Event, *who: object) -> None:
    """Write the event and its audit row; wake its topics at commit."""
    await db.execute(
        _EMIT, emitted.kind, db.encode(emitted), *who, emitted.subject, list(emitted.topics)
    )


async def happened(kind: str, subject: str) -> bool:
    """Whether the audit record has such an event of this subject."""
    sql = "select exists (select from audit_entries where subject = $2 and action = $1)"
    return bool(await db.value(sql, kind, subject))


async def wake(topics: Sequence[str]) -> None:
    """Wake topics at commit, without an event."""
    await db.execute("select pg_notify('terrapod', topic) from unnest($1::text[]) topic", topics)


async def trim(before: datetime) -> None:
    """Drop events that nobody will ask for any more; the audit record stays."""
    await db.execute("delete from outbox where at < $1", before)


class Line:
    """Waiters for the same thing, in the order of their coming: one looks, the others stand."""

    def __init__(self) -> None:
        self.turn = anyio.Lock()


class Bus:
    """Lets waiting code know that something was committed."""

    def __init__(self) -> None:
        self._signals: dict[str, anyio.Event] = {}
        self._lines: dict[str, Line] = {}
        self._alone: dict[str, anyio.CancelScope] = {}
        self._closed = False

    def signal(self, topic: str) -> anyio.Event:
        """The event that the next wake-up for this topic will set."""
        return self._signals.setdefault(topic, anyio.Event())

    def wake(self, topic: str) -> None:
        """Let everybody who waits for the topic look again."""
        if signal := self._signals.pop(topic, None):
            signal.set()

    def wake_all(self) -> None:
        """Let everybody look again, for commits may have passed unheard."""
        for topic in list(self._signals):
            self.wake(topic)

    def close(self) -> None:
        """Let everybody who waits go with nothing, for the process is about to end."""
        self._closed = True
        self.wake_all()

    async def first(
        self, topic: str, attempt: Callable[[], Awaitable[T | None]], wait: float
    ) -> T | None:
        """What ``attempt`` finds now, or after a wake-up, or nothing when time is up."""
        deadline = anyio.current_time() + wait
        while True:
            woken = self.signal(topic)  # taken before looking, so no wake-up falls between
            if (found := await attempt()) is not None or self._closed:
                return found
            # Only the waiting has a limit: an attempt is never cut off in its transaction.
            with anyio.move_on_after(deadline - anyio.current_time()) as limit:
                await woken.wait()
            if limit.cancelled_caught:
                return None

    async def first_in_line(
        self,
        topic: str,
        attempt: Callable[[], Awaitable[T | None]],
        wait: float,
        *,
        line: str = "",
    ) -> T | None:
        """As :meth:`first`, but only the head of the line looks: a wake-up costs one attempt.

        Those who look for different things stand in different lines of the topic.
        """
        deadline = anyio.current_time() + wait
        turn = self._lines.setdefault(f"{topic} {line}", Line()).turn
        try:
            # Without this, who waits for no time at all would never look.
            turn.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(wait) as limit:
                await turn.acquire()
            if limit.cancelled_caught:
                return None
        try:
            return await self.first(topic, attempt, deadline - anyio.current_time())
        finally:
            turn.release()

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Send away whoever is inside under the same key: what they wait for finds nothing."""
        if older := self._alone.get(key):
            older.cancel("a newer one came")
        with anyio.CancelScope() as scope:
            self._alone[key] = scope
            try:
                yield
            finally:
                if self._alone.get(key) is scope:
                    del self._alone[key]

    async def listen(self, dsn: str) -> None:
        """Relay commits of every server process; runs as a supervised loop."""
        async with _listening(dsn, self.wake) as connection:
            self.wake_all()
            lost = anyio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            while not lost.is_set():
                with anyio.move_on_after(_KEEP_ALIVE):
                    await lost.wait()
                # A connection that ended without a word is noticed here.
                await connection.execute("select 1", timeout=_KEEP_ALIVE)


@asynccontextmanager
async def _listening(dsn: str, wake_: Callable[[str], None]) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.add_listener(CHANNEL, lambda *call: wake_(str(call[3])))
        yield connection
    finally:
        with anyio.move_on_after(2, shield=True):
            await connection.close(timeout=2)
