"""What runs terraform: a child process today, a container or a pod another day."""

import signal as signals
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

Killed = Literal["", "order", "grace"]
_KILLED: dict[Killed, str] = {
    "order": "it was killed by this agent, as it was told",
    "grace": "it did not end in time after it was interrupted, and was killed by this agent",
}
_MEMORY = "most likely by the kernel for want of memory"


class Account(Struct, frozen=True):
    """The user id, and group id, under which the programs of a run are started."""

    uid: int


class Command(Struct, frozen=True, kw_only=True):
    """One program to run, and where its traces go."""

    argv: tuple[str, ...]
    folder: Path  # it starts there
    environment: Mapping[str, str]  # complete; nothing is added
    output: Path  # standard output is appended to this file
    errors: Path  # and standard error to this one, which may be the same
    lock: Path  # held for as long as its shim lives
    exit_file: Path  # tells how it ended, also to an agent that comes later
    grace: float  # from interrupt to kill
    account: Account | None = None  # none: it runs as the agent's own user
    memory: int = 0  # bytes; near so many it is interrupted. 0: no limit
    writable: tuple[Path, ...] = ()  # a sandbox shows these folders, and nothing beside them
    readable: tuple[Path, ...] = ()
    temporary: Path | None = None  # a sandbox shows it as /tmp; no run gets there by another way


class Exit(Struct, frozen=True, kw_only=True):
    """How a program ended: an exit code, or the signal that ended it, or why it never ran."""

    code: int | None = None
    signal: int | None = None
    error: str = ""
    unrecorded: bool = False  # it ran, and nothing tells how it ended
    peak: int = 0  # bytes of memory at most, where known
    out_of_memory: bool = False  # the kernel killed for want of memory meanwhile
    killed: Killed = ""  # by this agent
    limit: int = 0  # the bytes of memory near which it was interrupted
    left: tuple[str, ...] = ()  # processes of it that could not be ended

    @property
    def hard(self) -> bool:
        """Whether terraform was cut off, so that its last state may be missing."""
        return self.signal is not None or self.unrecorded or bool(self.killed)

    @property
    def explained(self) -> bool:
        """Whether terraform itself has said in the log why it ended."""
        return not (self.error or self.hard or self.limit or self.left)

    def describe(self) -> str:
        """The end in words."""
        if self.error:
            return self.error
        parts = [f"exit code {self.code}" if self.signal is None else self._signal()]
        if self.unrecorded:
            parts = ["nothing tells how it ended"]
        if self.limit:
            parts.append(f"it was interrupted near its memory limit of {_size(self.limit)}")
        if self.killed:
            parts.append(_KILLED[self.killed])
        if self.peak and (self.signal is not None or self.limit):
            parts.append(f"its peak was {_size(self.peak)}")
        if self.left:
            parts.append(f"it left {', '.join(self.left)}, which could not be ended")
        return "; ".join(parts)

    def _signal(self) -> str:
        try:
            name = signals.Signals(self.signal or 0).name
        except ValueError:
            name = "unknown"
        by_kernel = self.signal == signals.SIGKILL and self.out_of_memory and not self.killed
        cause = f", {_MEMORY}" if by_kernel else ""
        return f"killed by signal {self.signal} ({name}){cause}"


class Running(Protocol):
    """A program under way."""

    async def interrupt(self) -> None:
        """Ask it to stop, once; after the grace it is killed."""
        ...

    async def kill(self) -> None:
        """End it and all that it started."""
        ...

    async def wait(self) -> Exit:
        """How it ended."""
        ...

    async def close(self) -> None:
        """Let go of it; if it still runs it is stopped as if the agent had died."""
        ...


class Executor(Protocol):
    """Starts programs."""

    def account_for(self, run_folder: Path) -> AbstractAsyncContextManager[Account | None]:
        """Hand a run's folder to the user that its programs run as, for as long as they do."""
        ...

    async def start(self, command: Command) -> Running:
        """Start a program."""
        ...


def _size(count: int) -> str:
    """As it is set: `128Mi` is 128 MiB, and not 134 MB."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size and count % size == 0:
            return f"{count // size} {unit}"
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
