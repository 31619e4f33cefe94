"""Ids are committed in any order: a consumer misses none and keeps the order of the deeds."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import anyio
import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terrapod_control_plane.kernel import db, transaction_end
from terrapod_control_plane.kernel.locks import LockSession
from terrapod_control_plane.kernel.outbox_cursors import Cursor
from tests.kit.consumers import NAME, Told, begin, emit
from tests.kit.control import Control

pytestmark = pytest.mark.anyio


class Open:
    """A transaction of another process, which emits when it is told to."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.emitted: list[int] = []

    async def begin(self, *, writing: bool = False) -> None:
        """Open it; one that writes has its id from now on."""
        await self.connection.execute("begin")
        if writing:
            await self.connection.execute("select pg_current_xact_id()")

    async def emit(self, thing: str) -> None:
        """As the end of a transaction does."""
        now = await self.connection.fetchval("select now()")
        row = ("thing.told", db.encode(Told(thing=thing)), now, "system", "", "", "", thing)
        await self.connection.execute(transaction_end._SAY, *([value] for value in row), [])
        sql = "select currval(pg_get_serial_sequence('outbox', 'id'))"
        self.emitted.append(await self.connection.fetchval(sql))

    async def end(self, how: str) -> None:
        """Commit it, or roll it back."""
        await self.connection.execute(how)


@pytest.fixture
async def three(control: Control, dsn: str) -> AsyncIterator[list[Open]]:
    """Three other processes."""
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(3):
            connection = await asyncpg.connect(dsn)
            stack.push_async_callback(connection.close)
            found.append(Open(connection))
        yield found


@pytest.fixture
async def cursor(control: Control, dsn: str) -> AsyncIterator[Cursor]:
    await emit(control.services, "before")  # what other tests have left is no gap
    await begin(control.services)
    session = LockSession(dsn)
    async with session.held(NAME):
        opened = Cursor(session, NAME, ["thing.told"])
        await opened.open(control.clock.now())
        yield opened
    await session.close()


async def read(cursor: Cursor) -> list[int]:
    """What comes next, which is done with that."""
    found = [event.id for event in await cursor.following()]
    for event in found:
        cursor.finish(event)
    return found


async def settled(cursor: Cursor) -> list[int]:
    """What comes when no transaction is open any more; gaps take a look more each."""
    found = await read(cursor)
    with anyio.fail_after(20):
        while cursor.at_a_gap:
            found += await read(cursor)
    return found


async def test_what_was_committed_first_waits_for_what_happened_first(
    cursor: Cursor, three: list[Open]
) -> None:
    first, second, _ = three
    for one in (first, second):
        await one.begin()
        await one.emit("thing")
    await second.end("commit")
    for _ in range(3):
        assert await read(cursor) == []
    await first.end("commit")
    assert await read(cursor) == [*first.emitted, *second.emitted]
    assert not cursor.at_a_gap


async def test_what_was_rolled_back_is_waited_for_until_it_can_be_none(
    cursor: Cursor, three: list[Open]
) -> None:
    undone, done, other = three
    await undone.begin()
    await undone.emit("thing")
    await done.begin()
    await done.emit("thing")
    await other.begin(writing=True)  # of which nobody knows whether it has an id
    await done.end("commit")
    assert await read(cursor) == []
    await undone.end("rollback")
    assert await read(cursor) == []
    await other.end("commit")
    assert await settled(cursor) == done.emitted


async def test_a_transaction_that_is_open_keeps_nothing_when_no_id_is_missing(
    cursor: Cursor, three: list[Open], control: Control
) -> None:
    await three[0].begin(writing=True)
    await emit(control.services, "a", "b")
    assert len(await read(cursor)) == 2
    await three[0].emit("c")
    await three[0].end("commit")
    assert await read(cursor) == three[0].emitted


async def test_what_follows_from_an_event_comes_after_it(cursor: Cursor, three: list[Open]) -> None:
    """By the ids of transactions it would come before: that of the later deed is older."""
    waiting, holding, _ = three
    await waiting.begin(writing=True)
    await holding.begin(writing=True)
    await holding.emit("cause")
    await holding.end("commit")
    assert await waiting.connection.fetchval("select max(id) from outbox") == holding.emitted[0]
    await waiting.emit("effect")
    await waiting.end("commit")
    assert await read(cursor) == [*holding.emitted, *waiting.emitted]


async def test_a_gap_behind_a_gap_is_one_too(cursor: Cursor, three: list[Open]) -> None:
    first, second, third = three
    for one in (first, second, third):
        await one.begin()
    await first.emit("1")
    await second.emit("2")
    await second.end("commit")
    assert await read(cursor) == []
    await third.emit("3")
    await second.begin()
    await second.emit("4")
    await second.end("commit")
    await first.end("commit")
    assert await read(cursor) == [*first.emitted, second.emitted[0]]
    assert await settled_but(cursor, 3) == []
    await third.end("commit")
    assert await read(cursor) == [*third.emitted, second.emitted[1]]


async def settled_but(cursor: Cursor, looks: int) -> list[int]:
    return [event for _ in range(looks) for event in await read(cursor)]


def steps() -> st.SearchStrategy[list[tuple[str, int]]]:
    kinds = st.sampled_from(["begin", "write", "emit", "emit", "commit", "rollback", "read"])
    return st.lists(st.tuples(kinds, st.integers(0, 2)), max_size=30)


@given(steps=steps())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_however_transactions_meet_each_event_is_read_once_and_in_order(
    cursor: Cursor, three: list[Open], steps: list[tuple[str, int]]
) -> None:
    seen: list[int] = []
    committed: list[int] = []
    running: dict[int, int] = {}  # which are open, and how many they had emitted before

    async def end(number: int, how: str) -> None:
        before = running.pop(number)
        await three[number].end(how)
        if how == "commit":
            committed.extend(three[number].emitted[before:])

    for what, number in steps:
        one = three[number]
        if what == "read":
            seen += await read(cursor)
        elif what in {"begin", "write"} and number not in running:
            running[number] = len(one.emitted)
            await one.begin(writing=what == "write")
        elif what == "emit" and number in running:
            await one.emit("thing")
        elif what in {"commit", "rollback"} and number in running:
            await end(number, what)
    for number in list(running):
        await end(number, "commit")
    seen += await settled(cursor)
    assert seen == sorted(committed)
