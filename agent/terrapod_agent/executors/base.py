"""What runs terraform: a child process today, a container or a pod another day."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct


class Command(Struct, frozen=True, kw_only=True):
    """One program to run, and where its traces go."""

    argv: tuple[str, ...]
    folder: Path  # it starts there
    environment: Mapping[str, str]  # complete; nothing is added
    output: Path  # standard output is appended to this file
    errors: Path  # and standard error to this one, which may be the same
    lock: Path  # held for as long as anything of it runs
    exit_file: Path  # tells how it ended, also to an agent that comes later
    grace: float  # from interrupt to kill


class Exit(Struct, frozen=True):
    """How a program ended: an exit code, or the signal that ended it, or why it never ran."""

    code: int | None = None
    signal: int | None = None
    error: str = ""
    unrecorded: bool = False  # it ran, and nothing tells how it ended

    @property
    def hard(self) -> bool:
        """Whether it did not come to its end by itself."""
        return self.signal is not None or self.unrecorded

    def told(self) -> str:
        """The end in words."""
        if self.error:
            return self.error
        return f"exit code {self.code}" if self.signal is None else f"signal {self.signal}"


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
    """Starts programs. One that runs them under users of their own has the same interface."""

    async def start(self, command: Command) -> Running:
        """Start a program."""
        ...
