"""Locks of a process: held by one at a time, let go of however the work ends, lost with a word."""

from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qs, urlsplit, urlunsplit

import anyio
import pytest

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.locks import LockLost, LockSession
from tests.kit.control import Control
from tests.kit.proxy import BOTH, Proxy, Weather

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


@pytest.fixture
def network(dsn: str) -> Iterator[Proxy]:
    """A network between a process and the database."""
    query = parse_qs(urlsplit(dsn).query)
    host, port = query["host"][0], int(query["port"][0])
    proxy = Proxy(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else port)
    proxy.start()
    yield proxy
    proxy.close()


async def test_silence_is_noticed_before_the_database_gives_the_lock_away(
    control: Control, dsn: str, network: Proxy
) -> None:
    parts = urlsplit(dsn)
    place = f"{parts.username}:{parts.password}@127.0.0.1:{network.port}"
    session = LockSession(urlunsplit(parts._replace(netloc=place, query="sslmode=disable")))
    noticed = []

    async def work() -> None:
        try:
            async with session.held("a"):
                network.weather(Weather(silent=BOTH))
                await anyio.sleep_forever()
        except LockLost:
            noticed.append("lost")

    with anyio.fail_after(25):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            with pytest.raises(LockLost):
                await session.keep()
    assert noticed
