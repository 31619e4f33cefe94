"""Runs terraform as a child process of this machine, under a shim."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

from anyio import open_process
from anyio.abc import Process

import terrapod_agent
from terrapod_agent.executors.base import Account, Command, Running
from terrapod_agent.executors.process import Kept, prepare

# Isolated and without site: up in milliseconds, and deaf to the run's variables.
_PACKAGES = str(Path(terrapod_agent.__file__).parents[1])
_START = (
    f"import sys; sys.path.insert(0, {_PACKAGES!r});"
    " from terrapod_agent.executors.shim import main; sys.exit(main(sys.argv[1:]))"
)


class LocalExecutor:
    """A shim and a terraform for each command."""

    def __init__(self, look_every: float) -> None:
        self._look_every = look_every

    @asynccontextmanager
    async def admitted(self, place: Path) -> AsyncIterator[Account | None]:
        """Nothing to hand over yet."""
        yield None

    async def start(self, command: Command) -> Running:
        """Start a shim, which starts the program."""
        prepare(command)
        process: Process = await open_process(
            [*(sys.executable, "-I", "-S", "-E", "-c", _START), *_options(command), *command.argv],
            env=command.environment,
            stdout=DEVNULL,
            stderr=DEVNULL,  # it tells in its exit file, and must not hold our own streams open
            start_new_session=True,
        )
        return Kept(process, command, self._look_every)


def _options(command: Command) -> list[str]:
    options = {
        "lock": command.lock,
        "exit": command.exit_file,
        "output": command.output,
        "errors": command.errors,
        "grace": command.grace,
        "folder": command.folder,
        "memory": command.memory,
    }
    return [*(f"--{name}={value}" for name, value in options.items()), "--"]
