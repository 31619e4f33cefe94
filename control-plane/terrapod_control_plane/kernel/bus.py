"""Who waits, and how they are woken: by the commits of every process.

A wake-up reaches every process at commit and carries no data but a topic: whoever waits looks
again.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import anyio

from terrapod_control_plane.kernel import db, transaction_end
from terrapod_control_plane.kernel.caches import Caches
from terrapod_control_plane.kernel.echo import Echo

T = TypeVar("T")
CHANNEL = "terrapod"
_KEEP_ALIVE = 10.0
_CALL_EVERY = 0.25
_NOTIFY = "select pg_notify($1, $2)"
# A look in vain counts for those behind in the line too, unless something was said meanwhile. Not
# for longer: a row that was skipped because somebody held its lock is said by nobody.
_IN_VAIN = 5.0


async def notify(topics: Sequence[str]) -> None:
    """Wake topics at commit, without an event."""
    await transaction_end.wake(topics)


class WaitingLine:
    """Waiters for the same thing, in the order of their coming: one looks, the others stand."""

    def __init__(self) -> None:
        self.standing = 0
        self.turn = anyio.Lock()
        self._vain: anyio.Event | None = None
        self._looked_at = 0.0

    def forget(self) -> None:
        """Whoever comes to an empty line looks for itself."""
        self._vain = None

    def looked(self, signal: anyio.Event) -> None:
        """Somebody has found nothing while this was the signal to wait for."""
        self._vain, self._looked_at = signal, anyio.current_time()

    def knows_of_nothing(self, signal: anyio.Event) -> bool:
        """Whether there was nothing a moment ago, and nothing was said since."""
        return self._vain is signal and anyio.current_time() < self._looked_at + _IN_VAIN


class Bus:
    """Lets waiting code know that something was committed.

    What nobody waits for is not kept: topics and lines are named by agents, among others.
    """

    def __init__(self, caches: Caches | None = None) -> None:
        self._caches = caches or Caches()
        # Whoever waits for a signal holds it.
        self._signals: WeakValueDictionary[str, anyio.Event] = WeakValueDictionary()
        self._lines: dict[str, WaitingLine] = {}
        self._waiting: Counter[str] = Counter()
        self._alone: dict[str, anyio.CancelScope] = {}
        self._until: dict[str, set[anyio.CancelScope]] = {}
        self._closed = False

    @property
    def lines(self) -> frozenset[str]:
        """Those that somebody stands in."""
        return frozenset(self._lines)

    def stands(self, topic: str, line: str) -> bool:
        """Whether somebody stands in a line, so that whoever comes now has to wait."""
        return f"{topic} {line}" in self._lines

    def waiting(self, topic: str) -> int:
        """How many have looked in vain and wait for the topic; not those behind in a line."""
        return self._waiting[topic]

    def signal(self, topic: str) -> anyio.Event:
        """The event that the next wake-up for this topic will set."""
        return self._signals.setdefault(topic, anyio.Event())

    def wake(self, topic: str) -> None:
        """Let everybody who waits for the topic look again."""
        if signal := self._signals.pop(topic, None):
            signal.set()
        for scope in self._until.pop(topic, ()):
            scope.cancel("woken")

    def wake_all(self) -> None:
        """Let everybody look again, for commits may have passed unheard."""
        for topic in [*self._signals.keys(), *self._until]:
            self.wake(topic)

    def close(self) -> None:
        """Let everybody who waits go with nothing, for the process is about to end."""
        self._closed = True
        for topic in list(self._signals.keys()):
            if signal := self._signals.pop(topic, None):
                signal.set()

    async def first(
        self, topic: str, attempt: Callable[[], Awaitable[T | None]], wait: float
    ) -> T | None:
        """What ``attempt`` finds now, or after a wake-up, or nothing when time is up."""
        deadline = anyio.current_time() + wait
        while True:
            woken = self.signal(topic)  # taken before looking, so no wake-up falls between
            if (found := await attempt()) is not None or self._closed:
                return found
            if not await self._woken(topic, woken, deadline):
                return None

    async def _woken(self, topic: str, signal: anyio.Event, deadline: float) -> bool:
        # Only the waiting has a limit: an attempt is never cut off in its transaction.
        self._waiting[topic] += 1
        try:
            with anyio.move_on_after(deadline - anyio.current_time()) as limit:
                await signal.wait()
        finally:
            self._waiting -= Counter((topic,))  # forgets who is at zero
        return not limit.cancelled_caught

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
        with self._line(f"{topic} {line}") as stood:
            try:
                # Without this, who waits for no time at all would never look.
                stood.turn.acquire_nowait()
                stood.forget()
            except anyio.WouldBlock:
                with anyio.move_on_after(wait) as limit:
                    await stood.turn.acquire()
                if limit.cancelled_caught:
                    return None
            try:
                return await self._at_the_head(topic, attempt, deadline, stood)
            finally:
                stood.turn.release()

    @contextmanager
    def _line(self, key: str) -> Iterator[WaitingLine]:
        stood = self._lines.setdefault(key, WaitingLine())
        stood.standing += 1
        try:
            yield stood
        finally:
            stood.standing -= 1
            if not stood.standing:
                del self._lines[key]

    async def _at_the_head(
        self,
        topic: str,
        attempt: Callable[[], Awaitable[T | None]],
        deadline: float,
        line: WaitingLine,
    ) -> T | None:
        while not self._closed:
            woken = self.signal(topic)  # taken before looking, so no wake-up falls between
            if not line.knows_of_nothing(woken):
                if (found := await attempt()) is not None:
                    return found
                line.looked(woken)
            if not await self._woken(topic, woken, deadline):
                return None
        return None

    @contextmanager
    def until(self, topic: str) -> Iterator[anyio.CancelScope]:
        """Give up what is awaited inside at the next wake-up for the topic."""
        with anyio.CancelScope() as scope:
            self._until.setdefault(topic, set()).add(scope)
            try:
                yield scope
            finally:
                if (scopes := self._until.get(topic)) is not None:
                    scopes.discard(scope)
                    if not scopes:
                        del self._until[topic]

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
        async with _listening(dsn, self._hear) as connection:
            self._caches.missed()
            self.wake_all()
            echo, lost = self._caches.echo, anyio.Event()

            def end(_: Any) -> None:
                lost.set()
                echo.lost()

            connection.add_termination_listener(end)
            try:
                while True:  # until a call on a connection that has ended fails
                    await _call(connection, echo)
                    with anyio.move_on_after(_CALL_EVERY):
                        await lost.wait()
            finally:
                echo.lost()

    def _hear(self, topic: str) -> None:
        self._caches.heard(topic)
        self.wake(topic)


async def _call(connection: Any, echo: Echo) -> None:
    """Call oneself when somebody asks; a connection that ended without a word is noticed here."""
    with anyio.move_on_after(_KEEP_ALIVE) as idle:
        await echo.wanted()
    if idle.cancelled_caught:
        await connection.execute("select 1", timeout=_KEEP_ALIVE)
    else:
        await connection.execute(_NOTIFY, CHANNEL, echo.call(), timeout=_KEEP_ALIVE)


@asynccontextmanager
async def _listening(dsn: str, wake_: Callable[[str], None]) -> AsyncIterator[Any]:
    # What it says is of no use after a crash: it need not be on the disk before it is heard.
    session = {"synchronous_commit": "off"}
    connection = await db.connect(dsn, command_timeout=_KEEP_ALIVE, session=session)
    try:
        await connection.add_listener(CHANNEL, lambda *call: wake_(str(call[3])))
        yield connection
    finally:
        with anyio.move_on_after(2, shield=True):
            await connection.close(timeout=2)
