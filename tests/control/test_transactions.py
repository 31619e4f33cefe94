"""Transactions in transactions: who joins shares its fate, a savepoint comes to nothing alone."""

from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import pytest

from terrapod_control_plane.kernel import db
from tests.kit.control import Control
from tests.kit.statement_count import counted
from tests.kit.things import THINGS, stored, table_of_things, thing

pytestmark = pytest.mark.anyio


class Undone(Exception):
    """Ends a block."""


@pytest.fixture(autouse=True)
async def _things(control: Control) -> AsyncIterator[None]:
    async with table_of_things():
        yield


async def ids() -> set[str]:
    return {one.id for one in await THINGS.where("true")}


async def fails(id_: str, in_what: object) -> None:
    """Stores a thing and raises."""
    async with in_what():  # type: ignore[operator]
        await stored(id_)
        db.on_commit(lambda: done.append(id_))
        raise Undone


done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


async def test_joining_costs_nothing_and_a_savepoint_two_statements() -> None:
    async with counted() as sent, db.transaction(), db.transaction():
        pass
    assert sent == ["begin", "commit"]
    async with counted() as sent, db.transaction():
        async with db.savepoint():
            pass
        async with db.savepoint(), db.savepoint():
            pass
    assert [text.partition(" s")[0] for text in sent[1:3]] == ["savepoint", "release"]
    assert len(sent) == 2 + 3 * 2


async def test_a_savepoint_comes_to_nothing_alone() -> None:
    async with db.transaction():
        await stored("before")
        db.on_commit(lambda: done.append("before"))
        with suppress(Undone):
            await fails("inside", db.savepoint)
        await stored("after")
        db.on_commit(lambda: done.append("after"))
    assert await ids() == {"before", "after"}
    assert done == ["before", "after"]


async def test_what_postgresql_refuses_is_caught_around_a_savepoint() -> None:
    await stored("t1")
    async with db.transaction():
        with pytest.raises(db.Duplicate):
            async with db.savepoint():
                await stored("t1")
        await stored("t2")
    assert await ids() == {"t1", "t2"}


async def test_a_savepoint_outside_of_a_transaction_is_one() -> None:
    with suppress(Undone):
        await fails("t1", db.savepoint)
    async with db.savepoint():
        await stored("t2")
    assert await ids() == {"t2"}
    assert done == []


async def test_who_catches_what_a_joined_one_raises_commits_nothing() -> None:
    async def change() -> None:
        async with db.transaction():
            await stored("before")
            with suppress(Undone):
                await fails("inside", db.transaction)
            await stored("after")

    with pytest.raises(db.Doomed):
        await change()
    assert await ids() == set()
    assert done == []


async def test_a_savepoint_takes_back_what_dooms() -> None:
    async with db.transaction():
        with suppress(Undone):
            async with db.savepoint():
                await fails("inside", db.transaction)
        await stored("after")
    assert await ids() == {"after"}


async def test_what_is_doomed_inside_a_savepoint_does_not_leave_it() -> None:
    async def part() -> None:
        async with db.savepoint():
            with suppress(Undone):
                await fails("inside", db.transaction)

    async with db.transaction():
        with pytest.raises(db.Doomed):
            await part()
    assert await ids() == set()


async def test_a_commit_that_postgresql_turned_into_a_rollback_is_an_error() -> None:
    await stored("t1")

    async def change() -> None:
        async with db.transaction():
            await stored("t2")
            db.on_commit(lambda: done.append("t2"))
            with suppress(db.Duplicate):
                await stored("t1")

    with pytest.raises(db.Doomed):
        await change()
    assert await ids() == {"t1"}
    assert done == []


async def test_a_savepoint_whose_time_is_up_is_undone_and_the_rest_goes_on() -> None:
    async with db.transaction():
        await stored("before")
        with anyio.move_on_after(0.05) as limit:
            async with db.savepoint():
                await stored("inside")
                await db.execute("select pg_sleep(30)")
        assert limit.cancelled_caught
        await stored("after")
    assert await ids() == {"before", "after"}


async def test_a_transaction_that_is_cancelled_leaves_nothing_and_gives_its_connection_back() -> (
    None
):
    for _ in range(30):  # more than the pool has
        with anyio.move_on_after(0.02):
            async with db.transaction():
                await THINGS.insert(thing("t1"))
                await db.execute("select pg_sleep(30)")
    assert await ids() == set()
    assert not db.in_transaction()


async def test_what_is_left_for_after_a_commit_is_done_though_its_time_is_up_just_then() -> None:
    with anyio.CancelScope() as scope:

        def end(statement: str) -> None:
            if statement == "commit":
                scope.cancel()

        async with counted(end), db.transaction():
            await stored("t1")
            db.on_commit(lambda: done.append("t1"))
    assert scope.cancelled_caught
    assert await ids() == {"t1"}
    assert done == ["t1"]
