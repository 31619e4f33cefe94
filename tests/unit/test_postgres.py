"""The embedded PostgreSQL, started for real: as root, as an ordinary user, and after a crash."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

import terrapod_control_plane as package
from terrapod_control_plane.kernel.postgres import Embedded, PostgresFailed

pytestmark = pytest.mark.anyio

ROOT = os.geteuid() == 0
PATHS = [str(Path(module.__file__ or "").parents[1]) for module in (asyncpg, package)]
SERVE = """
import signal, sys
sys.path += sys.argv[1:3]
from pathlib import Path
from terrapod_control_plane.kernel.postgres import Embedded
print(Embedded(Path(sys.argv[3])).start(), flush=True)
signal.pause()
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "data"
    yield path
    Embedded(path).erase()


def home_of(data_dir: Path) -> Path:
    return data_dir / (data_dir / "postgres.home").read_text().splitlines()[0]


def started_once(data_dir: Path) -> Embedded:
    server = Embedded(data_dir)
    server.start()
    server.stop()
    return server


def postmaster(data_dir: Path) -> int:
    return int((home_of(data_dir) / "cluster" / "postmaster.pid").read_text().split()[0])


def memory(pid: int) -> int:
    """What a process and its children use, in KiB, shared pages counted once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rolls = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in (pid, *children)]
    return sum(int(roll.partition("\nPss:")[2].split()[0]) for roll in rolls)


def owner(pid: int) -> str:
    return pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name


async def keep(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept (number int); INSERT INTO kept VALUES (42)")
    await connection.close()


async def kept(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    number = await connection.fetchval("SELECT number FROM kept")
    await connection.close()
    assert isinstance(number, int)
    return number


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


def serve_in_a_process(data_dir: Path, *, as_nobody: bool = False) -> subprocess.Popen[str]:
    # Our own python may lie where another user cannot go.
    python = shutil.which("python3", path="/usr/bin") if as_nobody else sys.executable
    return subprocess.Popen(
        [python or sys.executable, "-c", SERVE, *PATHS, str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if as_nobody else None,
        text=True,
        user="nobody" if as_nobody else None,
        group="nogroup" if as_nobody else None,
        extra_groups=[] if as_nobody else None,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


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


@pytest.mark.skipif(not ROOT, reason="only root has to become another user")
@pytest.mark.parametrize("parent_mode", [0o700, 0o755])
async def test_root_finds_it_again(parent_mode: int) -> None:
    with TemporaryDirectory() as folder:
        parent = Path(folder)
        os.chmod(parent, parent_mode)  # noqa: PTH101 - the rule against blocking knows paths only
        server = Embedded(parent / "data")
        try:
            await keep(server.start())
            home = home_of(parent / "data")
            assert (parent in home.parents) == (parent_mode == 0o755)
            assert owner(postmaster(parent / "data")) == "nobody"
            server.stop()
            next(home.glob("programs-18*")).rename(home / "programs-17.0")
            assert await kept(server.start()) == 42
            assert [path.name[:12] for path in home.glob("programs-*")] == ["programs-18."]
            assert home == home_of(parent / "data")
        finally:
            server.erase()


@pytest.mark.skipif(not ROOT, reason="other tests run as an ordinary user then")
def test_an_ordinary_user_needs_no_copy() -> None:
    with TemporaryDirectory() as folder:
        shutil.chown(folder, "nobody", "nogroup")
        data_dir = Path(folder) / "data"
        with serve_in_a_process(data_dir, as_nobody=True) as process:
            dsn = first_line(process)
            process.kill()
            _, complaint = process.communicate()
        if "ModuleNotFoundError" in complaint or "Permission denied" in complaint:
            pytest.skip("another user cannot reach this installation")
        assert dsn.startswith("postgresql://terrapod:"), complaint
        assert not list((data_dir / "postgres").glob("programs-*"))
        # Root goes on as the user whose database it is.
        started_once(data_dir)
        assert (data_dir / "postgres" / "cluster").owner() == "nobody"
