"""Work that follows from events: each consumer reads the outbox behind a cursor of its own.

At least once, in order, in one process at a time, which holds a lock and no transaction. A
consumer that fails at an event tries it again, later and later, and reads nothing behind it;
after a limit the event becomes a dead letter, which operators see, and the consumer goes on.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from functools import partial

import anyio
import msgspec
import structlog
from msgspec import Struct, structs

from terrapod_common.loops import Backoff, Loop
from terrapod_control_plane.kernel import db, outbox
from terrapod_control_plane.kernel.bus import Bus
from terrapod_control_plane.kernel.context import Context, Services, system
from terrapod_control_plane.kernel.locks import LockSession
from terrapod_control_plane.kernel.outbox import Event
from terrapod_control_plane.kernel.outbox_cursors import Cursor, StoredEvent

log = structlog.get_logger()

_TOPIC = "outbox"
# Seconds.
_STAND_BY = 5.0  # how often those look who wait for the lock
_LOOK_EVERY = 5.0  # a wake-up may be lost with its connection or its process
_GATHER = 0.05  # a storm of commits costs a wake-up each time that this has passed
_SAVE_EVERY = 1.0  # a crash repeats no more than was done meanwhile
_FAREWELL = 2.0
_WORDS_AT_MOST = 2000  # letters of an error that are kept
# How soon to look whether a gap is one: it is, as a rule, when its transaction has ended.
_GAPS = Backoff(first=0.02, longest=1.0)


class Delivery(Struct, frozen=True, kw_only=True):
    """An event that comes to a consumer: once, or more than once with the same id."""

    id: int  # rises; a consumer may know by it what it has done already
    event: Event
    at: datetime
    actor_kind: str
    actor_id: str
    request_id: str


class Consumer(Struct, frozen=True, kw_only=True):
    """Who reads events, and what is done at each.

    A new one begins at the present. The name is that of its cursor: one that is renamed is new.
    """

    name: str
    handle: Callable[[Context, Delivery], Awaitable[None]]
    events: tuple[type[Event], ...] = ()  # with what is below them; none are all
    attempts: int = 10  # at one event, before it becomes a dead letter
    within: float = 60.0  # seconds that one attempt may take
    backoff: Backoff = Backoff(first=1.0, longest=60.0)

    def wants(self, event: type[Event]) -> bool:
        """Whether events of this class come to it."""
        return not self.events or issubclass(event, self.events)


def loop(consumer: Consumer, services: Services) -> Loop:
    """The consumer as a supervised loop."""
    return Loop(f"consumer {consumer.name}", partial(_stand_by, consumer, services))


def loops(them: Sequence[Consumer], services: Services) -> list[Loop]:
    """The consumers, and what wakes those of all processes after commits of this one."""
    announcing = Loop("outbox", partial(_announce, services.bus, services.locks))
    return [announcing, *(loop(one, services) for one in them)] if them else []


async def _announce(bus: Bus, locks: LockSession) -> None:
    committed = bus.signal(outbox.COMMITTED)
    while True:
        await committed.wait()
        await anyio.sleep(_GATHER)
        committed = bus.signal(outbox.COMMITTED)  # before it is told, so none falls between
        await locks.notify(_TOPIC)


async def _stand_by(consumer: Consumer, services: Services) -> None:
    while True:
        async with services.locks.held(f"consumer:{consumer.name}") as mine:
            if mine:
                await Reader(consumer, services).read_on()
        await anyio.sleep(_STAND_BY)


class Reader:
    """A consumer at work, in the process that holds its lock."""

    def __init__(self, consumer: Consumer, services: Services) -> None:
        self._consumer = consumer
        self._services = services
        self._known = outbox.known_events()
        kinds = [kind for kind, event in self._known.items() if consumer.wants(event)]
        self._kinds = frozenset(kinds)
        self._cursor = Cursor(services.locks, consumer.name, kinds)
        self._saved_at = anyio.current_time()
        self._gaps: Iterator[float] = _GAPS.waits()
        self._log = log.bind(consumer=consumer.name)

    async def read_on(self) -> None:
        """Read until the lock is lost or the process ends."""
        await self._cursor.open(self._services.clock.now())
        try:
            while True:
                woken = self._services.bus.signal(_TOPIC)  # before looking, so none is missed
                await self._turn()
                with anyio.move_on_after(self._patience()):
                    await woken.wait()
        finally:
            with anyio.move_on_after(_FAREWELL, shield=True):
                await self._save_if_held()

    def _patience(self) -> float:
        if self._cursor.at_a_gap:
            return next(self._gaps)
        self._gaps = _GAPS.waits()
        return _LOOK_EVERY

    async def _save_if_held(self) -> None:
        try:
            await self._save()
        except db.BROKEN:
            return  # what is not remembered is done once more

    async def _save(self) -> None:
        await self._cursor.save(self._services.clock.now())
        self._saved_at = anyio.current_time()

    async def _turn(self) -> None:
        for letter in await self._cursor.wanted():
            await self._retry(letter)
        while found := await self._cursor.following():
            for stored in found:
                await self._deliver(stored)
                if anyio.current_time() > self._saved_at + _SAVE_EVERY:
                    await self._save()
            await self._save()

    async def _deliver(self, stored: StoredEvent) -> None:
        if stored.kind not in self._known:
            self._log.warning("an event of an unknown kind was passed over", kind=stored.kind)
        elif stored.kind in self._kinds:
            await self._try_until_settled(stored)
        self._cursor.finish(stored.id)

    async def _try_until_settled(self, stored: StoredEvent) -> None:
        """Try until it is done or given up."""
        about = {"id": stored.id, "kind": stored.kind}
        delays = self._consumer.backoff.delays()
        while (failure := await self._attempt(stored)) is not None:
            error, now = _in_words(failure), self._services.clock.now()
            attempts = await self._cursor.failed(error, now)
            if attempts >= self._consumer.attempts:
                await self._cursor.give_up(stored, error, now)
                self._log.error(
                    "an event is a dead letter", attempts=attempts, error=error, **about
                )
                return
            delay = next(delays)
            told = {"attempts": attempts, "retry_in": round(delay, 2), "error": error}
            # Where it came from is told once.
            trace = failure if attempts == 1 else None
            self._log.warning("an event is tried again", **told, **about, exc_info=trace)
            await anyio.sleep(delay)

    async def _retry(self, letter: StoredEvent) -> None:
        failure = await self._attempt(letter)
        if failure is None:
            await self._cursor.revived(letter)
            self._log.info("a dead letter is done", id=letter.id, kind=letter.kind)
        else:
            error = _in_words(failure)
            await self._cursor.dead_again(letter, error)
            self._log.error("an event is a dead letter again", id=letter.id, error=error)

    async def _attempt(self, stored: StoredEvent) -> Exception | None:
        """What went wrong, or nothing."""
        context = system(self._services)
        if stored.request_id:
            context = structs.replace(context, request_id=stored.request_id)
        try:
            delivery = self._delivery(stored)
            with anyio.fail_after(self._consumer.within):
                await self._consumer.handle(context, delivery)
        except Exception as error:  # noqa: BLE001 - who counts the attempts tells it
            return error
        return None

    def _delivery(self, stored: StoredEvent) -> Delivery:
        event = msgspec.json.decode(stored.payload or "", type=self._known[stored.kind])
        about = {name: getattr(stored, name) for name in _COPIED}
        return Delivery(event=event, **about)


def _in_words(failure: Exception) -> str:
    # As a column can hold it, whatever is in it: else the attempt would not be counted.
    text = f"{type(failure).__name__}: {failure}"[:_WORDS_AT_MOST].replace("\0", "")
    return text.encode(errors="backslashreplace").decode()


_COPIED = ("id", "at", "actor_kind", "actor_id", "request_id")
