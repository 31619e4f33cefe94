"""The embedded PostgreSQL, started for real: as root, as an ordinary user, and after a crash."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from terrapod_control_plane.kernel.postgres.home import PostgresFailed
from tests.kit.embedded import (
    first_line,
    home_of,
    keep,
    kept,
    postmaster,
    serve_in_a_process,
    started_once,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "data"
    yield path
    Embedded(path).erase()


def memory(pid: int) -> int:
    """What a process and its children use, in KiB, shared pages counted once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rolls = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in (pid, *children)]
    return sum(int(roll.partition("\nPss:")[2].split()[0]) for roll in rolls)


async def test_data_is_there_after_a_restart(data_dir: Path) -> None:
    server = Embedded(data_dir)
    await keep(server.start())
    assert server.running
    server.stop()
    assert not server.running
    assert await kept(server.start()) == 42
    server.stop()


async def test_only_its_own_user_gets_near(data_dir: Path) -> None:
    server = Embedded(data_dir)
    dsn = server.start()
    private = [data_dir / name for name in ("postgres.password", "postgres.log", "postgres.home")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    home = home_of(data_dir)
    assert stat.S_IMODE(home.stat().st_mode) & 0o007 == 0
    assert {stat.S_IMODE((home / name).stat().st_mode) for name in ("cluster", "run")} == {0o700}
    password = (data_dir / "postgres.password").read_text()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(dsn.replace(password, "guess"))
    connection = await asyncpg.connect(dsn)
    assert await connection.fetchval("SHOW listen_addresses") == ""
    assert await connection.fetchval("SHOW fsync") == "on"
    await connection.close()
    server.stop()


async def test_it_is_small(data_dir: Path) -> None:
    server = Embedded(data_dir)
    connection = await asyncpg.connect(server.start())
    used = memory(postmaster(data_dir))
    await connection.close()
    server.stop()
    assert used < 60 * 1024


async def test_a_killed_server_starts_again_at_once(data_dir: Path) -> None:
    with serve_in_a_process(data_dir) as process:
        await keep(first_line(process))
        process.send_signal(signal.SIGKILL)
    server = Embedded(data_dir)
    assert await kept(server.start()) == 42
    server.stop()
    assert "was not properly shut down" not in (data_dir / "postgres.log").read_text()


async def test_postgres_killed_with_its_server_starts_again(data_dir: Path) -> None:
    with serve_in_a_process(data_dir) as process:
        await keep(first_line(process))
        os.kill(postmaster(data_dir), signal.SIGKILL)
        process.send_signal(signal.SIGKILL)
    server = Embedded(data_dir)
    assert await kept(server.start()) == 42
    server.stop()


async def test_two_servers_never_write_to_one_cluster(data_dir: Path) -> None:
    with serve_in_a_process(data_dir) as process:
        dsn = first_line(process)
        await keep(dsn)
        connection = await asyncpg.connect(dsn)
        child = await connection.fetchval("SELECT pg_backend_pid()")
        os.kill(child, signal.SIGSTOP)
        os.kill(postmaster(data_dir), signal.SIGKILL)
        process.send_signal(signal.SIGKILL)
    connection.terminate()
    with pytest.raises(PostgresFailed, match="shared memory block"):
        Embedded(data_dir, start_timeout=2).start()
    os.kill(child, signal.SIGCONT)
    server = Embedded(data_dir)
    assert await kept(server.start()) == 42
    server.stop()


async def test_a_stale_pid_file_does_not_matter(data_dir: Path) -> None:
    server = Embedded(data_dir)
    await keep(server.start())
    server.stop()
    # The number of a process that lives, but is not PostgreSQL.
    (home_of(data_dir) / "cluster" / "postmaster.pid").write_text(f"{os.getppid()}\n/x\n1\n")
    assert await kept(server.start()) == 42
    server.stop()


def test_a_second_one_is_told_who_has_the_folder(data_dir: Path) -> None:
    with serve_in_a_process(data_dir) as process:
        first_line(process)
        with pytest.raises(PostgresFailed, match=f"process {process.pid}"):
            Embedded(data_dir).start()
        process.kill()


async def test_an_interrupted_first_start_is_repeated(data_dir: Path) -> None:
    server = started_once(data_dir)
    home = home_of(data_dir)
    # As a crash within initdb leaves it.
    (home / "new-crashed").mkdir()
    (home / "cluster").rename(home / "new-crashed" / "cluster")
    record = data_dir / "postgres.home"
    record.write_text(record.read_text().replace("ready", "new"))
    await keep(server.start())
    assert not (home / "new-crashed").exists()
    server.stop()


def test_a_vanished_cluster_is_not_replaced_by_an_empty_one(data_dir: Path) -> None:
    server = started_once(data_dir)
    home = home_of(data_dir)
    shutil.rmtree(home / "cluster")
    with pytest.raises(PostgresFailed, match="restore a backup"):
        server.start()
    shutil.rmtree(home)
    with pytest.raises(PostgresFailed, match="restore a backup"):
        server.start()
    assert not home.exists()


async def test_a_lost_password_is_replaced(data_dir: Path) -> None:
    server = Embedded(data_dir)
    await keep(server.start())
    server.stop()
    (data_dir / "postgres.password").unlink()
    assert await kept(server.start()) == 42
    server.stop()


def test_another_version_is_named(data_dir: Path) -> None:
    server = started_once(data_dir)
    (home_of(data_dir) / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(PostgresFailed, match=r"made by PostgreSQL 17.*is 18"):
        server.start()


def test_the_log_says_why_it_does_not_start(data_dir: Path) -> None:
    server = started_once(data_dir)
    (home_of(data_dir) / "cluster" / "postgresql.conf").write_text("port = nonsense\n")
    with pytest.raises(PostgresFailed, match=r"nonsense.*postgres\.log"):
        server.start()


def test_a_data_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(PostgresFailed, match="data"):
        Embedded(tmp_path / "data").start()


async def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    server = Embedded(tmp_path.joinpath(*["a-rather-long-name"] * 6))
    try:
        await keep(server.start())
    finally:
        server.erase()


def test_another_thread_may_not_start_it(data_dir: Path) -> None:
    with ThreadPoolExecutor() as pool, pytest.raises(RuntimeError, match="main thread"):
        pool.submit(Embedded(data_dir).start).result()
