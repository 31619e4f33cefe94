"""The agent's hold on a kept terraform, and on one that an earlier agent left behind."""

import contextlib
import fcntl
import os
from pathlib import Path

import anyio
from anyio.abc import Process

from terrapod_agent.executors.base import Command, Exit


class Kept:
    """A program under a keeper. Closing the pipe to the keeper is the same as dying."""

    def __init__(self, process: Process, command: Command, look_every: float) -> None:
        self._process = process
        self._command = command
        self._look_every = look_every

    async def interrupt(self) -> None:
        """Ask it to stop, once; the keeper kills it after the grace."""
        await self._say(b"i")

    async def kill(self) -> None:
        """End it and all that it started."""
        await self._say(b"k")

    async def wait(self) -> Exit:
        """How it ended; when the keeper was killed, terraform itself is waited for."""
        await self._process.wait()
        if ended := read_exit(self._command.exit_file):
            return ended
        await survivor_gone(self._command.lock, self._command.exit_file, self._look_every)
        return Exit(error="the process that watches over terraform was killed", unrecorded=True)

    async def close(self) -> None:
        """Let go of the keeper; what still runs is interrupted, then killed."""
        if self._process.stdin is not None:
            with contextlib.suppress(anyio.BrokenResourceError, OSError):
                await self._process.stdin.aclose()

    async def _say(self, word: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            await self._process.stdin.send(word)


async def survivor_gone(lock: Path, exit_file: Path, look_every: float) -> None:
    """Return once nothing of an earlier terraform runs any more."""
    # The exit file counts too: a program that daemonized itself may keep the lock for ever.
    while not read_exit(exit_file) and held(lock):  # noqa: ASYNC110 - a lock tells nobody
        await anyio.sleep(look_every)


def held(lock: Path) -> bool:
    """Whether some process still holds the lock."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_exit(exit_file: Path) -> Exit | None:
    """How a kept program ended, if it did."""
    try:
        kind, _, rest = exit_file.read_text().strip().partition(" ")
    except FileNotFoundError:
        return None
    if kind == "exit":
        return Exit(code=int(rest))
    return Exit(signal=int(rest)) if kind == "signal" else Exit(error=rest)
