"""Runs one terraform after the other for a phase and ends it when the phase is told to."""

from collections.abc import Mapping
from copy import copy
from functools import partial
from pathlib import Path

import anyio

from terrapod_agent.beside import beside
from terrapod_agent.executors.base import Command, Executor, Exit, Running
from terrapod_agent.slots import HARD, Hold
from terrapod_agent.trouble import Failed, Stopped
from terrapod_agent.work.folder import Folder


class Steps:
    """The programs of one phase, one at a time, all with the same folder and environment."""

    def __init__(
        self, executor: Executor, folder: Folder, hold: Hold, *, root: Path, grace: float
    ) -> None:
        self._executor = executor
        self._folder = folder
        self._hold = hold
        self._grace = grace
        self.root = root
        self.environment: Mapping[str, str] = {}

    def elsewhere(self, root: Path, environment: Mapping[str, str]) -> "Steps":
        """The same in another folder, with a changed environment."""
        other = copy(self)
        other.root, other.environment = root, {**self.environment, **environment}
        return other

    async def run(self, name: str, argv: tuple[str, ...], output: Path | None = None) -> Exit:
        """Run a program to its end; ``output`` keeps what it prints out of the log."""
        if self._hold.stopping():
            raise Stopped
        if self._hold.lost:
            # Right for an apply that runs; one that does not run yet must not start any more.
            raise Failed(f"the phase was lost before terraform {name} could start")
        if self._hold.lease_left() <= 0:
            raise Failed(f"the lease of the phase ended before terraform {name} could start")
        command = Command(
            argv=argv,
            folder=self.root,
            environment=self.environment,
            output=output or self._folder.log,
            errors=self._folder.init_log if output else self._folder.log,
            lock=self._folder.lock,
            exit_file=self._folder.exit(name),
            grace=self._grace,
        )
        self._hold.step = name
        self._hold.busy = True
        try:
            return await self._run(command)
        finally:
            self._hold.busy = False

    async def checked(self, name: str, argv: tuple[str, ...], output: Path | None = None) -> Exit:
        """The same, but raise :class:`Stopped` when the phase was told to end meanwhile."""
        ended = await self.run(name, argv, output)
        if self._hold.stopping():
            raise Stopped
        return ended

    async def _run(self, command: Command) -> Exit:
        running = await self._executor.start(command)
        try:
            async with beside(partial(self._obey, running)):
                return await running.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await running.close()

    async def _obey(self, running: Running) -> None:
        while True:
            wished = self._hold.wished.next()
            if self._hold.stopping():
                hard = HARD.intersection(self._hold.wishes)
                await (running.kill() if hard else running.interrupt())
            await wished.wait()
