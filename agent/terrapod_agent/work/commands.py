"""Runs one terraform after the other for a phase and ends it when the phase is told to."""

from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from functools import partial
from pathlib import Path

import anyio

from terrapod_agent.background import in_background
from terrapod_agent.errors import OperationFailed, PhaseStopped
from terrapod_agent.executors.base import Account, Command, Executor, Exit, Running
from terrapod_agent.slots import FORCED, ActivePhase
from terrapod_agent.work.phase_folder import PhaseFolder

OnStart = Callable[[bool], None]


def _ignore_start(begun: bool) -> None:  # noqa: FBT001 - as Mark has it
    """Nobody has to know."""


class CommandRunner:
    """The programs of one phase, one at a time, all with the same folder and environment."""

    def __init__(
        self,
        executor: Executor,
        folder: PhaseFolder,
        active: ActivePhase,
        *,
        root: Path,
        grace: float,
    ) -> None:
        self._executor = executor
        self._folder = folder
        self._active = active
        self._grace = grace
        self.root = root
        self.environment: Mapping[str, str] = {}
        self.account: Account | None = None
        self.memory = 0
        self.check: Callable[[Path], Awaitable[None]] | None = None  # of a program, before each use
        self.on_start: OnStart = (
            _ignore_start  # told before the main program starts, and if it could not
        )

    @property
    def uid(self) -> int | None:
        """The user that the programs run as, if it is not the agent's own."""
        return self.account.uid if self.account else None

    def in_folder(self, root: Path, environment: Mapping[str, str]) -> "CommandRunner":
        """The same in another folder, with a changed environment."""
        other = copy(self)
        other.root, other.environment = root, {**self.environment, **environment}
        return other

    async def run(self, name: str, argv: tuple[str, ...], output: Path | None = None) -> Exit:
        """Run a program to its end; ``output`` keeps what it prints out of the log."""
        await self._wait_for_lease(name)
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
            writable=(self._folder.run_folder.path,),
            temporary=self._folder.tmp,
        )
        self._active.step = name
        self._active.program_running = True
        try:
            ended = await self._run(command, self.on_start if name == "main" else _ignore_start)
        finally:
            self._active.program_running = False
        if self._active.stop_reason() and not ended.explained:
            self._folder.log_line(f"\nterraform {name}: {ended.describe()}")
        if ended.left:  # also where all went well, or the words for the end have no room for it
            named = ", ".join(ended.left)
            self._folder.log_line(
                f"\nWarning: terraform {name} left {named}, which could not be ended."
            )
        return ended

    async def _wait_for_lease(self, name: str) -> None:
        """Go on only under a lease that is known to last.

        A server that was away may have prolonged it, so it is asked for as long as that takes.
        """
        active = self._active
        while True:
            told = active.updated.next_event()
            if active.stop_reason():
                raise PhaseStopped
            if active.lost:
                # Right for an apply that runs; one that does not run yet must not start any more.
                raise OperationFailed(f"the phase was lost before terraform {name} could start")
            if active.lease_left() > 0:
                return
            active.step = "waiting for the server"
            active.ask_server()
            await told.wait()

    async def run_unless_stopped(
        self, name: str, argv: tuple[str, ...], output: Path | None = None
    ) -> Exit:
        """The same, but raise :class:`PhaseStopped` when the phase was told to end meanwhile."""
        ended = await self.run(name, argv, output)
        if self._active.stop_reason():
            raise PhaseStopped
        return ended

    async def _run(self, command: Command, mark: OnStart) -> Exit:
        mark(True)
        try:
            running = await self._executor.start(command)
        except OSError as error:
            mark(False)
            raise OperationFailed(f"{command.argv[0]} cannot be started: {error}") from error
        try:
            async with in_background(partial(self._stop_when_told, running)):
                return await running.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await running.close()

    async def _stop_when_told(self, running: Running) -> None:
        while True:
            wished = self._active.stop_requested.next_event()
            if self._active.stop_reason():
                hard = FORCED.intersection(self._active.stop_reasons)
                await (running.kill() if hard else running.interrupt())
            await wished.wait()
