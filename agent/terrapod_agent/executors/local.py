"""Runs terraform as a child process of this machine, under a shim."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

from anyio import CancelScope, open_process, to_thread
from anyio.abc import Process

from terrapod_agent.executors import python_program
from terrapod_agent.executors.base import Account, Command, Running
from terrapod_agent.executors.bubblewrap import Bubblewrap, account_files
from terrapod_agent.executors.process import ShimmedProcess, write_lock_file
from terrapod_agent.executors.users import UserIds
from terrapod_common import files


class LocalExecutor:
    """A shim and a terraform for each command, in a sandbox or under a user id if it has them."""

    def __init__(
        self,
        look_every: float,
        *,
        sandbox: Bubblewrap | None = None,
        users: UserIds | None = None,
        reads: tuple[Path, ...] = (),
    ) -> None:
        self._look_every = look_every
        self._sandbox = sandbox
        self._users = users
        self._reads = reads

    @property
    def sandboxed(self) -> bool:
        """Whether programs run in a sandbox."""
        return self._sandbox is not None

    @asynccontextmanager
    async def account_for(self, run_folder: Path) -> AsyncIterator[Account | None]:
        """Hand ``run_folder`` to a user id that no other run has meanwhile, where that is done."""
        if self._users is None:
            yield None
            return
        # A tree may hold many thousand files.
        taken = self._users.acquire(run_folder)
        account = await to_thread.run_sync(taken.__enter__)
        try:
            yield account
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(taken.__exit__, None, None, None)

    async def start(self, command: Command) -> Running:
        """Start a shim, which starts the program."""
        write_lock_file(command)
        argv = command.argv
        if self._sandbox:
            for path, content in account_files(command).items():
                files.write_atomically(path, content.encode(), mode=0o644)
            if command.temporary is not None:
                files.private_folder(command.temporary)
                files.chown_like(command.temporary, like=command.writable[0])
            argv = self._sandbox.argv(command, tuple(path for path in self._reads if path.exists()))
        shim = python_program.command_line("terrapod_agent.executors.shim")
        # The shim has our rights: what a workspace puts into the environment, such as where the
        # system's library looks for code, must reach the program alone.
        with tempfile.TemporaryFile(dir=command.lock.parent) as environment:
            lines = (f"{name}={value}" for name, value in command.environment.items())
            environment.write(b"\0".join(map(os.fsencode, lines)))
            environment.seek(0)
            options = _options(command, environment.fileno(), sandboxed=self.sandboxed)
            process: Process = await open_process(
                [*shim, *options, "--", *argv],
                env={},
                stdout=DEVNULL,
                stderr=DEVNULL,  # it tells in its exit file, and must not hold our streams open
                start_new_session=True,
                pass_fds=(environment.fileno(),),
            )
        return ShimmedProcess(process, command, self._look_every)


def _options(command: Command, environment: int, *, sandboxed: bool) -> list[str]:
    options = {
        "environment": environment,
        "lock": command.lock,
        "exit": command.exit_file,
        "output": command.output,
        "errors": command.errors,
        "grace": command.grace,
        "folder": command.folder,
        "memory": command.memory,
        "uid": command.account.uid if command.account else 0,
        **({"sandboxed": "yes"} if sandboxed else {}),
    }
    return [f"--{name}={value}" for name, value in options.items()]
