"""One unit of work: rows read once, written once, never stale, and gone with their savepoint."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
import asyncpg
import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel import db, unit_of_work
from tests.kit.control import Control
from tests.kit.statement_count import counted
from tests.kit.things import THINGS, Thing, stored, table_of_things, thing

pytestmark = pytest.mark.anyio


class Undone(Exception):
    """Ends a block."""


@pytest.fixture(autouse=True)
async def _things(control: Control) -> AsyncIterator[None]:
    async with table_of_things():
        await stored("t1", "t2", "t3")
        yield


async def locked(id_: str = "t1") -> Thing:
    found = await unit_of_work.lock(THINGS, id_)
    assert found is not None
    return found


async def change(id_: str = "t1", **given: Any) -> Thing:
    """Lock a thing and change it."""
    old = await locked(id_)
    return unit_of_work.save(THINGS, old, replace(old, **given))


async def there(id_: str = "t1") -> Thing:
    found = await THINGS.get(id_)
    assert found is not None
    return found


async def test_a_row_is_read_once_and_written_once() -> None:
    async with counted() as sent, db.transaction():
        await change(count=2)
        async with db.transaction():
            assert (await locked()).count == 2
            await change(count=3, labels={"a": "b"})
        assert (await change(name="x")).count == 3
    assert [text.split()[0] for text in sent] == ["begin", "select", "update", "commit"]
    found = await there()
    assert (found.count, found.labels, found.name) == (3, {"a": "b"}, "x")


async def test_who_only_looks_is_told_what_is_known() -> None:
    assert await unit_of_work.get(THINGS, "t1") == await there()
    async with counted() as sent, db.transaction():
        changed = await change(count=2)
        assert await unit_of_work.get(THINGS, "t1") == changed
    assert [text.split()[0] for text in sent] == ["begin", "select", "update", "commit"]
    async with db.transaction():
        await change(count=3)
        await db.execute("update things set count = count + 1")
        found = await unit_of_work.get(THINGS, "t1")
        assert (found and found.count, await unit_of_work.get(THINGS, "none")) == (4, None)


async def test_rows_are_written_in_the_order_of_their_locking() -> None:
    async with db.transaction():
        second, first = await locked("t2"), await locked("t1")
        unit_of_work.save(THINGS, first, replace(first, count=5))
        unit_of_work.save(THINGS, second, replace(second, size=5))
        async with counted() as sent:
            await unit_of_work.flush()
    assert ["size" in text for text in sent] == [True, False]


async def test_what_is_changed_back_is_not_written() -> None:
    async with counted() as sent, db.transaction():
        await change(count=2)
        await change(count=1)
    assert not [text for text in sent if text.startswith("update")]


async def test_what_somebody_in_between_has_changed_is_kept() -> None:
    async with db.transaction():
        old = await locked()
        await change(count=9, words=("of", "another"))
        latest = unit_of_work.save(THINGS, old, replace(old, name="x", words=("mine",)))
        assert (latest.count, latest.name, latest.words) == (9, "x", ("mine",))
    assert await there() == latest


async def test_a_new_row_is_known() -> None:
    async with db.transaction():
        made = await unit_of_work.insert(THINGS, thing("t4"))
        async with counted() as sent:
            assert await locked("t4") == made
        assert sent == []
        await change("t4", count=2)
    assert (await there("t4")).count == 2


async def test_a_row_that_a_query_has_locked_is_known() -> None:
    async with db.transaction():
        (found,) = await THINGS.where("name = 'the t2' for update")
        assert unit_of_work.adopt(THINGS, found) == found
        await change("t2", count=2)
        assert unit_of_work.adopt(THINGS, found).count == 2
    assert (await there("t2")).count == 2


async def test_a_query_sees_what_waits() -> None:
    async with db.transaction():
        await change(count=7)
        assert [one.id for one in await THINGS.where("count = 7")] == ["t1"]
        await change(count=8)
        sql = "with few as (select 1) select count(*) from few, things where count = 8"
        assert await db.value(sql) == 1


async def test_a_query_of_another_table_writes_nothing() -> None:
    async with db.transaction():
        await change(count=7)
        async with counted() as sent:
            await db.value("select count(*) from users")
    assert len(sent) == 1


async def test_what_another_statement_has_changed_is_read_again() -> None:
    async with db.transaction():
        old = await change(size=4)
        await db.execute("update things set count = count + 1")
        new = unit_of_work.save(THINGS, old, replace(old, name="x"))
        assert new.count == 1
        assert await locked() == replace(old, count=2, name="x")
    assert await there() == replace(old, count=2, name="x")


async def test_a_value_is_written_though_it_is_the_one_that_was_read() -> None:
    async with db.transaction():
        await locked()
        await db.execute("update things set count = 5")
        old = replace(await there(), count=5)
        unit_of_work.save(THINGS, old, replace(old, count=1))
    assert (await there()).count == 1


@pytest.mark.parametrize("sql", ["for update", "for no key update", "for  \n update"])
async def test_a_query_that_locks_changes_nothing(sql: str) -> None:
    async with db.transaction():
        await locked()
        await THINGS.where(f"true {sql}")
        async with counted() as sent:
            await locked()
    assert sent == []


async def test_another_row_of_the_table_is_read_without_writing_the_first() -> None:
    async with db.transaction():
        await change(count=2)
        async with counted() as sent:
            await locked("t2")
    assert len(sent) == 1


async def test_a_row_that_is_not_there_can_come() -> None:
    async with db.transaction():
        assert await unit_of_work.lock(THINGS, "t4") is None
        await stored("t4")
        assert (await locked("t4")).id == "t4"


async def test_a_row_that_was_deleted_is_not_there() -> None:
    async with db.transaction():
        await change(count=2)
        await THINGS.delete("t1")
        assert await unit_of_work.lock(THINGS, "t1") is None


async def test_a_change_of_a_row_that_was_deleted_is_a_mistake() -> None:
    async def wrong() -> None:
        async with db.transaction():
            old = await locked()
            await THINGS.delete("t1")
            unit_of_work.save(THINGS, old, replace(old, count=2))

    with pytest.raises(unit_of_work.RowGone):
        await wrong()
    assert (await there()).count == 1


async def test_a_change_without_a_lock_is_a_mistake() -> None:
    old = await there()
    async with db.transaction():
        with pytest.raises(unit_of_work.NotLocked):
            unit_of_work.save(THINGS, old, replace(old, count=2))
    with pytest.raises(RuntimeError, match="needs a transaction"):
        await unit_of_work.lock(THINGS, "t1")


async def test_nobody_else_changes_a_locked_row(dsn: str) -> None:
    other = await asyncpg.connect(dsn)
    async with db.transaction():
        await locked()
        with pytest.raises(asyncpg.LockNotAvailableError):
            await other.fetch("select 1 from things where id = 't1' for update nowait")
    await other.close()


async def test_an_error_leaves_nothing() -> None:
    async def wrong() -> None:
        async with db.transaction():
            await change(count=2)
            raise Undone

    with pytest.raises(Undone):
        await wrong()
    assert (await there()).count == 1
    async with db.transaction():
        assert (await locked()).count == 1


async def test_a_cancelled_one_leaves_nothing() -> None:
    with anyio.move_on_after(0.05) as limit:
        async with db.transaction():
            await change(count=2)
            await unit_of_work.flush()
            await db.execute("select pg_sleep(30)")
    assert limit.cancelled_caught
    assert (await there()).count == 1


async def test_what_is_wrong_with_a_change_is_raised_at_the_end() -> None:
    async def wrong() -> None:
        async with db.transaction():
            await change(name="the t2")

    with pytest.raises(db.Duplicate):
        await wrong()


async def test_what_is_wrong_with_a_change_is_caught_around_a_savepoint() -> None:
    async with db.transaction():
        await change(count=2)
        with pytest.raises(db.Duplicate):
            async with db.savepoint():
                await change(name="the t2")
        assert (await locked()).name == "the t1"
        await change(size=3)
    assert await there() == replace(await there(), name="the t1", count=2, size=3)


async def test_a_savepoint_that_comes_to_nothing_forgets_what_it_knew() -> None:
    async with db.transaction():
        await change(count=2)
        with suppress(Undone):
            async with db.savepoint():
                await change(count=3)
                await unit_of_work.flush()
                await change("t2", count=3)
                raise Undone
        assert (await locked()).count == 2
        async with counted() as sent:
            assert (await locked("t2")).count == 1
        assert len(sent) == 1
    assert ((await there()).count, (await there("t2")).count) == (2, 1)


async def test_what_is_changed_without_being_named_is_forgotten() -> None:
    async with db.transaction():
        await change(count=2)
        await unit_of_work.flush()
        await db.execute("do $$ begin execute 'upd' || 'ate things set size = 8'; end $$")
        unit_of_work.forget()
        assert (await locked()).size == 8
