"""Processes that read what is large, so that the event loop goes on and a hang costs one process.

A content lies in a memory that the process shares, so it is neither copied nor encoded on its way.
Processes are started when there is something to read, and end by themselves when there is not.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

import anyio
from anyio.to_thread import run_sync

from terrapod_control_plane.kernel import reader
from terrapod_control_plane.kernel.reader import DONE, HEAD, Reading

_PROGRAM = [sys.executable, "-P", "-m", reader.__name__]
_IDLE_SECONDS = 30.0
_PIECE = 1024 * 1024
_NOT_STARTED = (OSError, RuntimeError)  # the second one means that there is no thread to be had


class Unreadable(ValueError):
    """The content is not what the reading was for; the message says why."""


class ReaderFailed(Exception):
    """There was no memory or process to read with, or the process has ended or took too long."""


class Memory:
    """Bytes that another process can read without a copy."""

    def __init__(self) -> None:
        """Raises ReaderFailed where there is none to be had."""
        try:
            self._file = _anonymous()
        except OSError as error:
            raise ReaderFailed(f"there is no memory to read from: {error}") from None
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Its descriptor."""
        return self._file

    def add(self, piece: bytes | bytearray) -> None:
        """Put a piece behind what is there; raises ReaderFailed where it has no place."""
        try:
            with memoryview(piece) as rest:
                written = 0
                while written < len(rest):
                    written += os.write(self._file, rest[written:])
        except OSError as error:
            raise ReaderFailed(f"there is no memory to read from: {error}") from None
        self.size += len(piece)

    def close(self) -> None:
        """Give it back; more than once is fine."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def _anonymous() -> int:
    if sys.platform == "linux":
        return os.memfd_create("terrapod")
    with tempfile.TemporaryFile() as file:  # without a name, and gone with its descriptors
        return os.dup(file.fileno())


class Readers:
    """So many processes at most, each for one content at a time."""

    def __init__(
        self, at_most: int, *, idle: float = _IDLE_SECONDS, program: Sequence[str] = _PROGRAM
    ) -> None:
        self._places = anyio.CapacityLimiter(at_most)
        self._command = program
        self._idle_seconds = idle
        self._waiting: list[_Process] = []  # without work
        self._starting = threading.Lock()

    async def read(self, reading: Reading, content: Memory, seconds: float) -> bytes:
        """What a function of a module makes of a content.

        Raises Unreadable where the function has said ValueError, and ReaderFailed when two
        processes, one after the other, could not be started, have ended or taken longer than so
        many seconds.
        """
        name = f"{reading.__module__}:{reading.__qualname__}"
        async with self._places:
            try:
                return await self._read_by(self._some, name, content, seconds)
            except ReaderFailed:
                # It may have ended since nothing came; a new one has no past.
                return await self._read_by(self._new, name, content, seconds)

    def warm(self) -> None:
        """Have a process ready soon, from a thread; who reads is told if there can't be one."""
        with self._starting, contextlib.suppress(*_NOT_STARTED):
            if not self._waiting:
                self._waiting.append(self._new())

    def end(self) -> None:
        """End those that have no work."""
        while self._waiting:
            self._waiting.pop().kill()

    async def _read_by(
        self, start: Callable[[], "_Process"], name: str, content: Memory, seconds: float
    ) -> bytes:
        try:
            process = await run_sync(start)
        except _NOT_STARTED as error:
            raise ReaderFailed(f"no process to read could be started: {error}") from None
        try:
            how, said = await run_sync(
                process.ask, name, content.fileno(), seconds, abandon_on_cancel=True
            )
        except BaseException as error:
            process.kill()
            if isinstance(error, (OSError, EOFError)):  # a timeout is one
                raise ReaderFailed(f"reading took too long or broke off: {error!r}") from None
            raise
        self._waiting.append(process)
        if how != DONE:
            raise Unreadable(said.decode(errors="replace"))
        return bytes(said)

    def _some(self) -> "_Process":
        while self._waiting:
            process = self._waiting.pop()
            if process.alive:
                return process
            process.kill()
        return self._new()

    def _new(self) -> "_Process":
        return _Process([*self._command], self._idle_seconds)


def _started(command: list[str], served: socket.socket) -> subprocess.Popen[bytes]:
    # It gets nothing of our environment, where secrets may be, but the way to its modules.
    return subprocess.Popen(
        command,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        pass_fds=[served.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


class _Process:
    """A process that reads, and the socket to it."""

    def __init__(self, command: list[str], idle: float) -> None:
        self._asked = threading.Lock()
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _started([*command, str(theirs.fileno()), str(idle)], theirs)
            # Nobody else looks for the end of one that leaves by itself.
            threading.Thread(target=self._process.wait, daemon=True).start()
        except BaseException:
            self._socket.close()  # one that has started leaves at that
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, name: str, content: int, seconds: float) -> tuple[bytes, bytearray]:
        """How it went, and what came of it; blocks for so many seconds at most."""
        deadline = time.monotonic() + seconds
        with self._asked:
            self._socket.settimeout(seconds)
            socket.send_fds(self._socket, [name.encode()], [content])
            head = self._receive(HEAD, deadline)
            return bytes(head[:1]), self._receive(int.from_bytes(head[1:], "big"), deadline)

    def _receive(self, size: int, deadline: float) -> bytearray:
        got = bytearray(size)
        with memoryview(got) as place:
            at = 0
            while at < size:
                self._socket.settimeout(max(deadline - time.monotonic(), 1e-3))
                count = self._socket.recv_into(place[at : at + _PIECE])
                if not count:
                    raise EOFError("it has ended")
                at += count
        return got

    def kill(self) -> None:
        """End it, whatever it does; a thread that waits for its answer is let go."""
        self._process.kill()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with self._asked:  # nobody closes what a thread still waits for
            self._socket.close()
