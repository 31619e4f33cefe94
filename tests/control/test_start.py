"""Several processes that start on one database."""

import os
import sys
from pathlib import Path

import anyio
import asyncpg
import pytest

from terrapod_control_plane import migrations
from terrapod_control_plane.kernel.connecting import Unreachable
from terrapod_control_plane.kernel.single_instance import NotAlone, only_one

pytestmark = pytest.mark.anyio

VERSIONS = list(Path(migrations.__path__[0], "versions").glob("terrapod_*.sql"))
LOCK = "select pg_advisory_lock(hashtextextended('single-node', 0))"
HELD = "select count(*) from pg_locks where locktype = 'advisory' and granted"
WAITING = "select count(*) from pg_locks where locktype = 'advisory' and not granted"


async def test_all_of_them_may_migrate_at_once(fresh: str, tmp_path: Path) -> None:
    environment = {**os.environ, "TERRAPOD_DATABASE__URL": fresh}
    codes: list[int] = []

    async def migrate(number: int) -> None:
        given = environment | {"TERRAPOD_DATA_DIR": str(tmp_path / str(number))}
        command = [sys.executable, "-m", "terrapod_control_plane", "migrate"]
        ended = await anyio.run_process(command, env=given, check=False)
        codes.append(ended.returncode)

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(migrate, number)
    assert codes == [0, 0, 0, 0]
    connection = await asyncpg.connect(fresh)
    done = await connection.fetchval("select count(*) from migration")
    await connection.close()
    assert done == len(VERSIONS)


async def test_the_second_is_told_who_is_there(fresh: str) -> None:
    async with only_one(fresh, "one", patience=1):
        with pytest.raises(NotAlone, match="terrapod on one"):
            async with only_one(fresh, "two", patience=0.1):
                pass


async def test_the_second_waits_for_the_first_to_go(fresh: str) -> None:
    entered = anyio.Event()

    async def second() -> None:
        async with only_one(fresh, "two", patience=30):
            entered.set()

    async with anyio.create_task_group() as tasks:
        async with only_one(fresh, "one", patience=1):
            tasks.start_soon(second)
            await anyio.lowlevel.checkpoint()
            assert not entered.is_set()
        with anyio.fail_after(10):
            await entered.wait()


async def test_the_lock_is_taken_again_when_its_connection_is_lost(fresh: str) -> None:
    admin = await asyncpg.connect(fresh)
    kill = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1"
    async with only_one(fresh, "one", patience=5) as alone, anyio.create_task_group() as tasks:
        tasks.start_soon(alone.keep)
        await anyio.lowlevel.checkpoint()
        assert await admin.fetchval(kill, "terrapod on one")
        with anyio.fail_after(10):
            while not await admin.fetchval(HELD):
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    await admin.close()


async def test_who_has_lost_the_lock_to_another_ends(fresh: str) -> None:
    admin = await asyncpg.connect(fresh)
    kill = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1"
    async with only_one(fresh, "one", patience=0.1) as first:
        waiting = asyncpg.connect(fresh, server_settings={"application_name": "terrapod on two"})
        second = await waiting
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second.execute, LOCK)
            with anyio.fail_after(10):
                while not await admin.fetchval(WAITING):
                    await anyio.lowlevel.checkpoint()
            await admin.fetchval(kill, "terrapod on one")
        with pytest.raises(NotAlone, match="terrapod on two"):
            await first.keep()
        await second.close()
    await admin.close()


async def test_a_database_that_is_not_there_is_told() -> None:
    with pytest.raises(Unreachable, match="can't be reached"):
        async with only_one("postgresql://x@127.0.0.1:1/y", "one", patience=1):
            pass
