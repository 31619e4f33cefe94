"""Runs one terraform after the other for a phase and ends it when the phase is told to."""

from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from functools import partial
from pathlib import Path

import anyio

from terrapod_agent.beside import beside
from terrapod_agent.executors.base import Account, Command, Executor, Exit, Running
from terrapod_agent.slots import HARD, Hold
from terrapod_agent.trouble import Failed, Stopped
from terrapod_agent.work.folder import Folder

Mark = Callable[[bool], None]


def _unmarked(begun: bool) -> None:  # noqa: FBT001 - as Mark has it
    """Nobody has to know."""


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
        self.account: Account | None = None
        self.memory = 0
        self.check: Callable[[Path], Awaitable[None]] | None = None  # of a program, before each use
        self.mark: Mark = _unmarked  # told before the main program starts, and if it could not

    @property
    def uid(self) -> int | None:
        """The user that the programs run as, if it is not the agent's own."""
        return self.account.uid if self.account else None

    def elsewhere(self, root: Path, environment: Mapping[str, str]) -> "Steps":
        """The same in another folder, with a changed environment."""
        other = copy(self)
        other.root, other.environment = root, {**self.environment, **environment}
        return other

    async def run(self, name: str, argv: tuple[str, ...], output: Path | None = None) -> Exit:
        """Run a program to its end; ``output`` keeps what it prints out of the log."""
        await self._ours(name)
        if self.check is not None:
            await self.check(Path(argv[0]))
        command = Command(
            argv=argv,
            folder=self.root,
            environment=self.environment,
            output=output or self._folder.log,
            errors=self._folder.init_log if output else self._folder.log,
            lock=self._folder.lock,
            exit_file=self._folder.exit(name),
            grace=self._grace,
            account=self.account,
            memory=self.memory,
            writable=(self._folder.place.path,),
            temporary=self._folder.tmp,
        )
        self._hold.step = name
        self._hold.busy = True
        try:
            ended = await self._run(command, self.mark if name == "main" else _unmarked)
        finally:
            self._hold.busy = False
        if self._hold.stopping() and not ended.spoke:
            self._folder.say(f"\nterraform {name}: {ended.told()}")
        if ended.left:  # also where all went well, or the words for the end have no room for it
            named = ", ".join(ended.left)
            self._folder.say(f"\nWarning: terraform {name} left {named}, which could not be ended.")
        return ended

    async def _ours(self, name: str) -> None:
        """Go on only under a lease that is known to last.

        A server that was away may have prolonged it, so it is asked for as long as that takes.
        """
        hold = self._hold
        while True:
            told = hold.told.next()
            if hold.stopping():
                raise Stopped
            if hold.lost:
                # Right for an apply that runs; one that does not run yet must not start any more.
                raise Failed(f"the phase was lost before terraform {name} could start")
            if hold.lease_left() > 0:
                return
            hold.step = "waiting for the server"
            hold.ask()
            await told.wait()

    async def checked(self, name: str, argv: tuple[str, ...], output: Path | None = None) -> Exit:
        """The same, but raise :class:`Stopped` when the phase was told to end meanwhile."""
        ended = await self.run(name, argv, output)
        if self._hold.stopping():
            raise Stopped
        return ended

    async def _run(self, command: Command, mark: Mark) -> Exit:
        mark(True)
        try:
            running = await self._executor.start(command)
        except OSError as error:
            mark(False)
            raise Failed(f"{command.argv[0]} cannot be started: {error}") from error
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
