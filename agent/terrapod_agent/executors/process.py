"""The agent's hold on a terraform under its shim, and on one that an earlier agent left behind."""

import contextlib
import os
import signal
from pathlib import Path

import anyio
import msgspec
from anyio.abc import Process
from msgspec import Struct

from terrapod_agent.executors import kernel
from terrapod_agent.executors.base import Command, Exit, Killed
from terrapod_common import files

_SHIM_KILLED = "the process that watches over terraform was killed"
_CLEARING = 2.0  # seconds for what terraform left behind
_GRACE = 30.0  # where nobody has said another


class ProcessRecord(Struct, frozen=True, kw_only=True):
    """What is known of a terraform, for who comes after its shim was killed."""

    home: str = ""  # in the environment of all that it starts, unless taken out on purpose
    uid: int = 0
    grace: float = _GRACE
    pid: int = 0  # 0: it was not started yet
    start: int = 0

    def is_running(self) -> bool:
        """Whether terraform itself still runs."""
        return bool(self.pid) and kernel.start_time(self.pid) == self.start

    def strays(self) -> list[int]:
        """The processes that terraform has left behind."""
        # What a shim watches over belongs to a later phase, which has the same HOME.
        others = {os.getpid(), *kernel.shim_processes()}
        return [pid for pid in kernel.processes() if pid not in others and self._is_stray(pid)]

    def _is_stray(self, pid: int) -> bool:
        if self.pid and kernel.process_group(pid) == self.pid:
            return True
        if self.uid:
            with contextlib.suppress(OSError):
                return os.stat(f"/proc/{pid}").st_uid == self.uid  # noqa: PTH116 - one of many
        return bool(self.home) and kernel.has_variable(pid, f"HOME={self.home}")


class ShimmedProcess:
    """A program under a shim. Closing the pipe to the shim is the same as dying."""

    def __init__(self, process: Process, command: Command, look_every: float) -> None:
        self._process = process
        self._command = command
        self._look_every = look_every

    async def interrupt(self) -> None:
        """Ask it to stop, once; the shim kills it after the grace."""
        await self._send(b"i")

    async def kill(self) -> None:
        """End it and all that it started."""
        await self._send(b"k")

    async def wait(self) -> Exit:
        """How it ended; when the shim was killed, terraform itself is waited for."""
        await self._process.wait()
        if ended := read_exit(self._command.exit_file):
            return ended
        left = await wait_for_survivor(
            self._command.lock, self._command.exit_file, self._look_every
        )
        return Exit(error=_SHIM_KILLED, unrecorded=True, left=left)

    async def close(self) -> None:
        """Let go of the shim; what still runs is interrupted, then killed."""
        if self._process.stdin is not None:
            with contextlib.suppress(anyio.BrokenResourceError, OSError):
                await self._process.stdin.aclose()

    async def _send(self, word: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            await self._process.stdin.send(word)


def write_lock_file(command: Command) -> None:
    """Make the lock of a command, with what the shim does not write into it itself."""
    uid = command.account.uid if command.account else 0
    home = command.environment.get("HOME", "")
    lines = f"uid {uid}\ngrace {command.grace}\nhome {home}\n"
    files.write_atomically(command.lock, lines.encode())
    command.exit_file.unlink(missing_ok=True)


async def wait_for_survivor(lock: Path, exit_file: Path, look_every: float) -> tuple[str, ...]:
    """Return once nothing of an earlier terraform runs any more, or name what can't be ended.

    While its shim lives, that one ends it. A terraform without a shim was interrupted by the end
    of the shim; it has its grace to save the state, and is killed then.
    """
    while files.is_locked(lock):  # noqa: ASYNC110 - a lock tells nobody
        await anyio.sleep(look_every)
    if read_exit(exit_file):
        return ()
    record = read_record(lock)
    with anyio.move_on_after(record.grace):
        while record.is_running():  # noqa: ASYNC110 - it is not our child
            await anyio.sleep(look_every)
    return await _kill_strays(record, look_every)


def read_record(lock: Path) -> ProcessRecord:
    """What the lock file of a command says; one that is damaged says nothing."""
    known = {name: value for name, value in _lines(lock) if name in ProcessRecord.__struct_fields__}
    try:
        return msgspec.convert(known, ProcessRecord, strict=False)
    except msgspec.ValidationError:
        return ProcessRecord()


def read_exit(exit_file: Path) -> Exit | None:
    """How a program ended, if it did."""
    found = _lines(exit_file)
    try:
        return _exit(found) if found else None
    except (ValueError, msgspec.ValidationError):
        return Exit(unrecorded=True)


def _exit(found: list[tuple[str, str]]) -> Exit:
    said = {"code" if name == "exit" else name: value for name, value in found}
    return Exit(
        code=_number(said.get("code")),
        signal=_number(said.get("signal")),
        error=said.get("error", ""),
        unrecorded=not said.keys() & {"code", "signal", "error"},
        peak=_number(said.get("peak")) or 0,
        out_of_memory="oom" in said,
        killed=msgspec.convert(said.get("killed", ""), Killed),
        limit=_number(said.get("limit")) or 0,
        left=tuple(value for name, value in found if name == "left"),
    )


async def _kill_strays(record: ProcessRecord, look_every: float) -> tuple[str, ...]:
    with anyio.move_on_after(_CLEARING):
        while left := record.strays():
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            await anyio.sleep(look_every)
    return tuple(f"{pid} {kernel.process_name(pid)}" for pid in record.strays())


def _lines(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [(name, value) for name, _, value in (line.partition(" ") for line in lines) if name]


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
