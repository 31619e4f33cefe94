"""The embedded PostgreSQL in a process of its own, and what to look for in it."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import asyncpg

import terrapod_common
import terrapod_control_plane
from terrapod_control_plane.kernel.postgres.embedded import Embedded
from terrapod_control_plane.kernel.postgres.home import wheel_programs

_OURS = (terrapod_control_plane, terrapod_common)
_PATHS = [str(Path(module.__file__ or "").parents[1]) for module in (asyncpg, _OURS[0])]
_SERVE = """
import signal, sys
sys.path += sys.argv[1:3]
from pathlib import Path
from terrapod_control_plane.kernel.postgres.embedded import Embedded
print(Embedded(Path(sys.argv[3])).start(), flush=True)
signal.pause()
"""


def home_of(data_dir: Path) -> Path:
    """Where the cluster of a data directory lies."""
    return data_dir / (data_dir / "postgres.home").read_text().splitlines()[0]


def started_once(data_dir: Path) -> Embedded:
    """A cluster that has been made."""
    server = Embedded(data_dir)
    server.start()
    server.stop()
    return server


def postmaster(data_dir: Path) -> int:
    """The process of a running cluster."""
    return int((home_of(data_dir) / "cluster" / "postmaster.pid").read_text().split()[0])


def owner(pid: int) -> str:
    """Whose a process is."""
    return pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name


async def keep(dsn: str) -> None:
    """Store something."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept (number int); INSERT INTO kept VALUES (42)")
    await connection.close()


async def kept(dsn: str) -> int:
    """What was stored."""
    connection = await asyncpg.connect(dsn)
    number = await connection.fetchval("SELECT number FROM kept")
    await connection.close()
    assert isinstance(number, int)
    return number


def serve_in_a_process(data_dir: Path) -> subprocess.Popen[str]:
    """A cluster of a process that can be killed; it prints its address."""
    command = [sys.executable, "-c", _SERVE, *_PATHS, str(data_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def serve_as_nobody(installation: Path, data_dir: Path) -> subprocess.Popen[str]:
    """The same as an ordinary user, who may not reach our own programs: so from a copy of them."""
    for ours in _OURS:
        shutil.copytree(Path(ours.__file__ or "").parent, installation / ours.__name__)
    programs = wheel_programs().parents[1]
    for part in programs.parent.glob(f"{programs.name}*"):
        shutil.copytree(part, installation / part.name, symlinks=True)
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    path = str(installation)
    return subprocess.Popen(
        [python, "-c", _SERVE, path, path, str(data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        user="nobody",
        group="nogroup",
        extra_groups=[],
    )


def first_line(process: subprocess.Popen[str]) -> str:
    """What a process prints first."""
    assert process.stdout is not None
    return process.stdout.readline().strip()
