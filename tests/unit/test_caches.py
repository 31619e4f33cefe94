"""What is kept in memory: how much, for how long, and that no order of events outwits it."""

from collections.abc import Awaitable, Callable, Generator
from datetime import UTC, datetime, timedelta
from types import coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrapod_control_plane.kernel import caches
from terrapod_control_plane.kernel.caches import CREDENTIALS, Cache, Caches, Credential
from terrapod_control_plane.kernel.echo import COUNTS_FOR, Echo
from terrapod_control_plane.kernel.policy import PLATFORM, Actor, Scope, Where

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


class Time:
    """Moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Looking:
    """Looks into the database, which is one value; counts how often."""

    def __init__(self, found: Any) -> None:
        self.found = found
        self.times = 0

    async def __call__(self, *_: object) -> Any:
        self.times += 1
        return self.found


def listening(time: Time) -> Caches:
    """Caches that count at this moment."""
    made = Caches(Echo(time))
    made.heard(made.echo.call())
    return made


def holder(version: int = 0) -> Credential:
    return Credential(actor=Actor(kind="user", id="user-1", name=str(version)), until=LATER)


def scope_of(workspace: str) -> Scope:
    return Scope(where=Where.WORKSPACE, id=workspace, owner="user-1")


def test_the_longest_unused_goes_first() -> None:
    cache: Cache[int] = Cache(at_most=2)
    for key in "ab":
        cache.keep(key, 1, cache.changes)
    assert cache.get("a") == 1
    cache.keep("c", 1, cache.changes)
    assert [cache.get(key) for key in "abc"] == [1, None, 1]
    assert len(cache) == 2


def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    cache: Cache[int] = Cache()
    before = cache.changes
    cache.drop("another")
    cache.keep("a", 1, before)
    assert cache.get("a") is None


async def test_a_known_holder_is_not_looked_up_again_until_it_ends() -> None:
    kept, look = listening(Time()), Looking(holder())
    for _ in range(3):
        assert await kept.actor(b"token", NOW, look) == look.found.actor
    assert look.times == 1
    await kept.actor(b"token", LATER, look)
    assert look.times == 2


async def test_who_is_unknown_is_not_kept() -> None:
    kept, look = listening(Time()), Looking(None)
    for number in range(3):
        assert await kept.actor(b"%d" % number, NOW, look) is None
    assert len(kept.credentials) == 0


async def test_nothing_counts_without_an_echo_of_the_last_second() -> None:
    time, look = Time(), Looking(holder())
    kept = listening(time)
    await kept.actor(b"token", NOW, look)
    time.seconds += COUNTS_FOR
    await kept.actor(b"token", NOW, look)
    assert look.times == 2
    called = kept.echo.call()
    time.seconds += COUNTS_FOR  # so long was it under way
    kept.heard(called)
    await kept.actor(b"token", NOW, look)
    assert look.times == 3


@pytest.mark.parametrize("act", ["announced", "missed", "lost"])
async def test_a_change_that_was_or_may_have_been_said_counts_at_once(act: str) -> None:
    kept, look = listening(Time()), Looking(holder())
    await kept.actor(b"token", NOW, look)
    look.found = None
    {
        "announced": lambda: kept.heard(CREDENTIALS),
        "missed": kept.missed,
        "lost": kept.echo.lost,
    }[act]()
    assert await kept.actor(b"token", NOW, look) is None


def test_the_echo_of_another_process_or_of_a_lost_connection_proves_nothing() -> None:
    time = Time()
    echo, other = Echo(time), Echo(time)
    echo.call()
    echo.heard(other.call())
    assert not echo.fresh()
    called = echo.call()
    echo.lost()
    echo.heard(called)
    assert not echo.fresh()


async def test_what_lies_in_a_known_workspace_is_not_looked_up() -> None:
    kept, look = listening(Time()), Looking(scope_of("ws-1"))
    resolver = kept.remembering(look)
    for id_ in ("run-1", "run-1", "ws-1"):
        assert await resolver(id_) == look.found
    assert look.times == 1
    kept.heard(caches.workspace("ws-2"))
    await resolver("run-1")
    assert look.times == 1
    kept.heard(caches.workspace("ws-1"))
    look.found = None  # it was deleted
    assert await resolver("run-1") is None
    kept.heard(caches.WORKSPACES)
    assert len(kept.scopes) == 0


async def test_other_scopes_are_not_kept() -> None:
    kept, look = listening(Time()), Looking(PLATFORM)
    resolver = kept.remembering(look)
    await resolver("apool-1")
    await resolver("apool-1")
    assert look.times == 2


# --- every order of events ------------------------------------------------------------------------


@coroutine
def _pause() -> Generator[None, None, None]:
    yield


class Process:
    """Its caches, and where it stands in the messages of the database."""

    def __init__(self, time: Time) -> None:
        self.caches = Caches(Echo(time))
        self.at = 0  # the next message to hear
        self.hears = True
        self.calls: list[str] = []  # under way to the database
        self.asked: list[Any] = []  # slow requests, which have read
        self.least = 0  # the version that it has made itself


class World:
    """Two processes on one database, whose one credential changes its worth now and then.

    No answer may be older than a second, and none older than a change that the process itself has
    made.
    """

    def __init__(self) -> None:
        self.time = Time()
        self.messages: list[str] = []
        self.processes = [Process(self.time), Process(self.time)]
        self.since = [0.0]  # when each version came

    @property
    def version(self) -> int:
        """The one that counts now."""
        return len(self.since) - 1

    def judge(self, process: Process, actor: Actor) -> None:
        """Refuse an answer that is too old."""
        given = int(actor.name)
        assert given >= process.least, "it was changed here"
        if given < self.version:
            assert self.time() < self.since[given + 1] + COUNTS_FOR, "it was changed long ago"

    def time_passes(self, _: Process) -> None:
        self.time.seconds += 0.4

    def a_request_comes(self, process: Process) -> None:
        async def look() -> Credential:
            return holder(self.version)

        self._begin(process, look)

    def a_slow_request_comes(self, process: Process) -> None:
        async def look() -> Credential:
            read = holder(self.version)
            await _pause()
            return read

        self._begin(process, look)

    def _begin(self, process: Process, look: Callable[[], Awaitable[Credential]]) -> None:
        asked: Any = process.caches.actor(b"token", NOW, look)
        try:
            asked.send(None)
        except StopIteration as ended:
            self.judge(process, ended.value)
        else:
            process.asked.append(asked)

    def a_slow_request_ends(self, process: Process) -> None:
        if process.asked:
            with pytest.raises(StopIteration):
                process.asked.pop(0).send(None)

    def somebody_changes_it(self, _: Process) -> None:
        self.since.append(self.time())
        self.messages.append(CREDENTIALS)

    def it_is_changed_here(self, process: Process) -> None:
        self.somebody_changes_it(process)
        process.least = self.version
        process.caches.heard(CREDENTIALS)

    def it_calls(self, process: Process) -> None:
        process.calls.append(process.caches.echo.call())

    def calls_arrive(self, process: Process) -> None:
        self.messages += process.calls
        process.calls.clear()

    def it_hears(self, process: Process) -> None:
        while self.it_hears_one(process):
            pass

    def it_hears_one(self, process: Process) -> bool:
        """And the next one later, if there is one."""
        if not process.hears or process.at == len(self.messages):
            return False
        process.caches.heard(self.messages[process.at])
        process.at += 1
        return True

    def it_calls_and_hears(self, process: Process) -> None:
        """At once, as it is nearly always."""
        self.it_calls(process)
        self.calls_arrive(process)
        self.it_hears(process)

    def nothing_comes_through(self, process: Process) -> None:
        process.hears = False

    def its_connection_is_cut(self, process: Process) -> None:
        process.hears = False
        process.caches.echo.lost()

    def it_listens_again(self, process: Process) -> None:
        if not process.hears:
            process.caches.echo.lost()
            process.hears, process.at = True, len(self.messages)
            process.caches.missed()


_NO_STEPS = {"judge", "version"}
_OFTEN = ["time_passes", "time_passes", "a_request_comes", "it_calls_and_hears"]
STEPS = [name for name in vars(World) if not name.startswith("_") and name not in _NO_STEPS]
ORDERS = st.lists(
    st.tuples(st.sampled_from(_OFTEN + STEPS), st.sampled_from([0, 0, 0, 1])),
    min_size=30,
    max_size=100,
)


@settings(max_examples=200, deadline=None)
@given(ORDERS)
def test_no_order_of_events_lets_an_answer_be_too_old(orders: list[tuple[str, int]]) -> None:
    world = World()
    for name, number in orders:
        getattr(world, name)(world.processes[number])
    for asked in (one for process in world.processes for one in process.asked):
        asked.close()
