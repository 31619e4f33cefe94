"""Runs terraform as a child process of this machine, under a keeper."""

import sys
from pathlib import Path
from subprocess import DEVNULL

from anyio import open_process
from anyio.abc import Process

from terrapod_agent.executors.base import Command, Running
from terrapod_agent.work import keeper
from terrapod_agent.work.process import Kept


class LocalExecutor:
    """A keeper and a terraform for each command."""

    def __init__(self, look_every: float) -> None:
        self._look_every = look_every

    async def start(self, command: Command) -> Running:
        """Start a keeper, which starts the program."""
        command.lock.touch(mode=0o600)
        command.exit_file.unlink(missing_ok=True)
        process: Process = await open_process(
            [
                # Isolated and without site: up in milliseconds, and deaf to the run's variables.
                *(sys.executable, "-I", "-S", "-E", str(Path(keeper.__file__))),
                *(str(command.lock), str(command.exit_file), str(command.output)),
                *(str(command.errors), str(command.grace)),
                *(str(command.folder), *command.argv),
            ],
            env=command.environment,
            stdout=DEVNULL,
            stderr=DEVNULL,  # it tells in its exit file, and must not hold our own streams open
            start_new_session=True,
        )
        return Kept(process, command, self._look_every)
