"""Locks of a process: held by one at a time, let go of however the work ends, lost with a word."""

import os
import signal
from collections.abc import AsyncIterator

import anyio
import pytest

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.locks import LockLost, LockSession
from tests.kit.control import Control

pytestmark = pytest.mark.anyio

_END = """
select pg_terminate_backend(pid) from pg_locks
where locktype = 'advisory' and database = (select oid from pg_database
                                            where datname = current_database())
  and (classid::bigint << 32 | objid::bigint) = hashtextextended($1, 0)
"""


@pytest.fixture
async def mine(control: Control, dsn: str) -> AsyncIterator[LockSession]:
    session = LockSession(dsn)
    yield session
    await session.close()


@pytest.fixture
async def other(control: Control, dsn: str) -> AsyncIterator[LockSession]:
    """The locks of another process."""
    session = LockSession(dsn)
    yield session
    await session.close()


async def has(session: LockSession, name: str) -> bool:
    async with session.held(name) as held:
        return held


async def test_one_process_holds_a_lock_until_it_is_done(
    mine: LockSession, other: LockSession
) -> None:
    async with mine.held("a") as held:
        assert held
        assert not await has(other, "a")
        assert await has(other, "b")
    assert await has(other, "a")


async def test_a_process_does_not_hold_a_lock_twice(mine: LockSession, other: LockSession) -> None:
    async with mine.held("a"):
        assert not await has(mine, "a")
        assert not await has(other, "a")
    assert await has(other, "a")


async def test_a_lock_is_let_go_of_when_the_work_fails_or_is_cut_off(
    mine: LockSession, other: LockSession
) -> None:
    with pytest.raises(ValueError, match="no luck"):
        async with mine.held("a"):
            raise ValueError("no luck")
    assert await has(other, "a")
    async with anyio.create_task_group() as tasks, mine.held("b"):
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            assert not await has(other, "b")
    assert await has(other, "b")


async def test_work_is_cut_off_when_its_lock_is_lost(mine: LockSession, other: LockSession) -> None:
    async def work() -> None:
        async with mine.held("a"):
            await db.execute(_END, "a")
            await anyio.sleep_forever()

    with anyio.fail_after(20), pytest.raises(LockLost, match="'a' was lost"):
        await work()
    assert await has(other, "a")
    assert await has(mine, "a")


async def test_nothing_is_written_under_a_lost_lock(mine: LockSession) -> None:
    async def work() -> None:
        async with mine.held("a"):
            await db.execute(_END, "a")
            with anyio.CancelScope(shield=True):
                await mine.rows("update organizations set created_at = 'epoch'")

    with pytest.raises(LockLost):
        await work()
    assert await db.value("select created_at <> 'epoch' from organizations")


async def test_what_is_lost_with_one_lock_are_all(mine: LockSession) -> None:
    lost: list[str] = []

    async def work(name: str) -> None:
        try:
            async with mine.held(name):
                ready.set()
                await anyio.sleep_forever()
        except LockLost:
            lost.append(name)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for name in ("a", "b"):
                ready = anyio.Event()
                tasks.start_soon(work, name)
                await ready.wait()
            await db.execute(_END, "a")
    assert sorted(lost) == ["a", "b"]


async def test_who_lost_a_lock_does_not_let_go_of_it_for_who_has_it_now(
    mine: LockSession, other: LockSession
) -> None:
    held, ends, taken = anyio.Event(), anyio.Event(), anyio.Event()

    async def first() -> None:
        async with mine.held("a"):
            held.set()
            await ends.wait()

    async def second() -> None:
        async with mine.held("a") as is_mine:
            assert is_mine
            taken.set()
            await anyio.sleep_forever()

    async def speak() -> None:
        with pytest.raises(LockLost):
            await mine.rows("select pg_sleep(60)")

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await held.wait()
            for work in (speak, second):  # one waits for the other, and the first one for both
                tasks.start_soon(work)
                await anyio.wait_all_tasks_blocked()
            ends.set()
            await anyio.wait_all_tasks_blocked()
            await db.execute(_END, "a")
            await taken.wait()
            assert not await has(mine, "a")
            assert not await has(other, "a")
            tasks.cancel_scope.cancel()


async def test_silence_is_noticed_before_the_database_gives_the_lock_away(
    mine: LockSession,
) -> None:
    """The session's end in PostgreSQL stands still, and so says nothing more."""
    lost = anyio.Event()
    holding = anyio.Event()

    async def work() -> None:
        try:
            async with mine.held("a"):
                holding.set()
                await anyio.sleep_forever()
        except LockLost:
            lost.set()

    with anyio.fail_after(25):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await holding.wait()
            (row,) = await mine.rows("select pg_backend_pid() as pid")
            os.kill(row["pid"], signal.SIGSTOP)
            try:
                with pytest.raises(LockLost):
                    await mine.keep()
                await lost.wait()
            finally:
                os.kill(row["pid"], signal.SIGCONT)
