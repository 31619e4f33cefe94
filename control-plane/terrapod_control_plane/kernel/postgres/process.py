"""Starting PostgreSQL's programs: as whom, with which options, reachable where."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import quote

from terrapod_control_plane.kernel.postgres.home import (
    Home,
    PostgresFailed,
    give_to,
    wheel_programs,
)

NAME = "terrapod"
_PORT = 5432
_SOCKET_FOLDER_LIMIT = 107 - len(f"/.s.PGSQL.{_PORT}")
# Whatever PG* or LD_* variables our own environment has, they are not for this server.
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}
_OPTIONS = {
    "shared_buffers": "32MB",
    "max_connections": "60",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "max_wal_size": "256MB",
    "huge_pages": "off",
    "jit": "off",
    # Each of these would keep processes for loads that a single node does not have.
    "io_method": "sync",
    "autovacuum_max_workers": "2",
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "unix_socket_permissions": "0700",
    # Statements and their values may be secrets, and failed ones are the caller's to report.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
# Runs between us and PostgreSQL: the death signal is forgotten when the user changes, and our own
# process may have threads, in which no code may run between fork and exec.
_LAUNCH = """
import ctypes, os, signal, sys
parent, uid, gid = map(int, sys.argv[1:4])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal.SIGINT), 0, 0, 0)
if os.getppid() != parent:
    sys.exit("the server has ended")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
os.umask(0o077)
os.execv(sys.argv[4], sys.argv[4:])
"""


class Address(NamedTuple):
    """Where the server listens: a folder with its socket, or a loopback host."""

    host: str
    port: int

    @property
    def folder(self) -> Path | None:
        """The folder of the socket."""
        return Path(self.host) if self.host.startswith("/") else None

    def dsn(self, password: str) -> str:
        """What asyncpg and piccolo connect to."""
        query = f"host={quote(self.host, safe='')}&port={self.port}"
        return f"postgresql://{NAME}:{password}@/{NAME}?{query}"

    def options(self) -> dict[str, str]:
        """The settings that make the server listen here and nowhere else."""
        if self.folder is None:
            return {"listen_addresses": self.host, "unix_socket_directories": ""}
        return {"listen_addresses": "", "unix_socket_directories": self.host}


def find_address(home: Home) -> Address:
    """A socket beside the cluster, in a short temporary folder, or else a loopback port."""
    beside = home.folder / "run"
    beside.mkdir(mode=0o700, exist_ok=True)
    give_to(beside, home)
    if _takes_sockets(beside):
        return Address(str(beside), _PORT)
    brief = Path(tempfile.mkdtemp(prefix="terrapod-"))
    give_to(brief, home)
    if _takes_sockets(brief):
        return Address(str(brief), _PORT)
    brief.rmdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        return Address("127.0.0.1", free.getsockname()[1])


def _takes_sockets(folder: Path) -> bool:
    name = str(folder)
    # PostgreSQL reads the option as a list with quotes of its own.
    if len(os.fsencode(name)) > _SOCKET_FOLDER_LIMIT or set(name) & set(",\"'"):
        return False
    probe = folder / "probe"
    _clear(folder)
    with socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.bind(str(probe))
        except OSError:
            # Some network and desktop file systems have no sockets.
            return False
    probe.unlink()
    return True


def clear_sockets(address: Address) -> None:
    """Removes what a killed server left in its folder."""
    if address.folder is not None:
        _clear(address.folder)


def _clear(folder: Path) -> None:
    # It would stop the next server if the number in it is in use again.
    for name in ("probe", f".s.PGSQL.{_PORT}", f".s.PGSQL.{_PORT}.lock"):
        (folder / name).unlink(missing_ok=True)


def spawn_server(home: Home, address: Address, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """The server process, which shuts down when the calling thread ends."""
    options = [f"{name}={value}" for name, value in (_OPTIONS | address.options()).items()]
    arguments = ["-D", str(home.cluster), "-p", str(address.port)]
    arguments += [part for option in options for part in ("-c", option)]
    # A session of its own: Ctrl-C in a terminal is for us, who still need the database to finish.
    return subprocess.Popen(
        _command(home, "postgres", arguments),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=home.folder,
        env=_ENVIRONMENT,
        start_new_session=True,
    )


def run_program(home: Home, program: str, arguments: Sequence[str], text: str = "") -> None:
    """Runs a program to its end as PostgreSQL's user; what it says is in the error."""
    done = subprocess.run(
        _command(home, program, arguments),
        input=text,
        text=True,
        errors="replace",
        capture_output=True,
        cwd=home.folder,
        env=_ENVIRONMENT,
        start_new_session=True,
        check=False,
    )
    if done.returncode != 0:
        raise PostgresFailed(f"{program} failed: {last_lines(done.stderr or done.stdout)}")


def _command(home: Home, program: str, arguments: Sequence[str]) -> list[str]:
    whom = [str(os.getpid()), str(home.uid), str(home.gid)]
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, *whom]
    return [*launch, str(home.programs / program), *arguments]


def run_sql(address: Address, password: str, sql: str) -> None:
    """Runs a psql script in the database `postgres`."""
    host = ["-h", address.host, "-p", str(address.port), "-U", NAME, "-d", "postgres"]
    done = subprocess.run(
        [wheel_programs() / "psql", "-Xqw", "-v", "ON_ERROR_STOP=1", *host],
        input=sql,
        text=True,
        capture_output=True,
        env=_ENVIRONMENT | {"PGPASSWORD": password},
        check=False,
    )
    if done.returncode != 0:
        raise PostgresFailed(f"the database cannot be opened: {last_lines(done.stderr)}")


def is_ready(home: Home, pid: int) -> bool:
    """Whether the server of this process id accepts connections."""
    lines = _pid_file(home)
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def end_previous(home: Home, deadline: float) -> None:
    """Waits for a server that was left alone by a killed process, and is shutting down."""
    lines = _pid_file(home)
    if not lines or not lines[0].lstrip("-").isdigit():
        return
    pid = abs(int(lines[0]))
    if not _serves(pid, home.cluster):
        # The number may belong to another program by now, and PostgreSQL would refuse to start. It
        # takes its parent's for stale. The rest of the file must stay: it names the shared memory,
        # and so keeps a second server out while children of a killed one still write.
        rest = [str(os.getpid()), *lines[1:]]
        (home.cluster / "postmaster.pid").write_text("\n".join(rest) + "\n")
        return
    os.kill(pid, signal.SIGINT)
    if not _gone(pid, deadline):
        raise PostgresFailed(
            f"the PostgreSQL process {pid} of an earlier start still runs on {home.cluster} "
            "and does not end: wait for it, or end it"
        )


def _pid_file(home: Home) -> list[str]:
    try:
        return (home.cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _serves(pid: int, cluster: Path) -> bool:
    if sys.platform == "linux":
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return os.fsencode(cluster) in command.split(b"\0")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _gone(pid: int, deadline: float) -> bool:
    if sys.platform == "linux":
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        poll = select.poll()  # takes any number of a file, unlike select
        poll.register(handle, select.POLLIN)
        try:
            return bool(poll.poll(max(0, deadline - time.monotonic()) * 1000))
        finally:
            os.close(handle)
    while _serves(pid, Path()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _serves(pid, Path())


def last_lines(text: str) -> str:
    """The end of what a program said, on one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-6:]) or "it said nothing"
