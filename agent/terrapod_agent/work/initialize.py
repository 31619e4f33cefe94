"""``terraform init``, whose output is shown only when it fails or takes long."""

import contextlib
import os
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from terrapod_agent.background import in_background
from terrapod_agent.errors import OperationFailed
from terrapod_agent.work import terraform
from terrapod_agent.work.commands import CommandRunner
from terrapod_agent.work.phase_folder import PhaseFolder
from terrapod_agent.work.prepare import LOCK_FILE
from terrapod_common import files

_BLOCK = 64 * 1024


async def initialize(
    runner: CommandRunner, folder: PhaseFolder, binary: Path, *, locked: bool, quiet: float
) -> None:
    """Run init, or raise :class:`OperationFailed` after its output has been put into the log."""
    copy = InitLogCopier(folder)
    locked = locked and (runner.root / LOCK_FILE).exists()
    argv = terraform.init(binary, _states(folder, runner.root), locked=locked)
    async with in_background(partial(copy.copy_after, quiet)):
        ended = await runner.run_unless_stopped("init", argv, folder.init_log)
    if ended.code != 0 or copy.begun:
        await to_thread.run_sync(copy.copy_new)
    if ended.code != 0:
        raise OperationFailed(
            f"{binary.name} init failed ({ended.describe()})", shown=ended.explained
        )


def _states(folder: PhaseFolder, root: Path) -> str:
    # Relative, so that what terraform notes about it in the tree is the same in every run.
    return os.path.relpath(folder.states, root)


class InitLogCopier:
    """Brings what init has said into the log."""

    def __init__(self, folder: PhaseFolder) -> None:
        self._folder = folder
        self._at = 0
        self.begun = False

    async def copy_after(self, quiet: float) -> None:
        """From some time on, bring it as it comes."""
        await anyio.sleep(quiet)
        self.begun = True
        while True:
            await to_thread.run_sync(self.copy_new)
            await anyio.sleep(0.2)

    def copy_new(self) -> None:
        """Bring what is new."""
        with contextlib.suppress(OSError), files.open_regular(self._folder.init_log) as said:
            said.seek(self._at)
            while block := said.read(_BLOCK):
                self._folder.append_log(block)
                self._at += len(block)
