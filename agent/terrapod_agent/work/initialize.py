"""``terraform init``, whose output is shown only when it fails or takes long."""

import contextlib
import os
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from terrapod_agent.beside import beside
from terrapod_agent.trouble import Failed
from terrapod_agent.work import terraform
from terrapod_agent.work.folder import Folder
from terrapod_agent.work.prepare import LOCK_FILE
from terrapod_agent.work.steps import Steps
from terrapod_common import files

_BLOCK = 64 * 1024


async def initialize(
    steps: Steps, folder: Folder, binary: Path, *, locked: bool, quiet: float
) -> None:
    """Run init, or raise :class:`Failed` after its output has been put into the log."""
    copy = Copy(folder)
    locked = locked and (steps.root / LOCK_FILE).exists()
    argv = terraform.init(binary, _states(folder, steps.root), locked=locked)
    async with beside(partial(copy.later, quiet)):
        ended = await steps.checked("init", argv, folder.init_log)
    if ended.code != 0 or copy.begun:
        await to_thread.run_sync(copy.now)
    if ended.code != 0:
        raise Failed(f"{binary.name} init failed ({ended.told()})", shown=ended.spoke)


def _states(folder: Folder, root: Path) -> str:
    # Relative, so that what terraform notes about it in the tree is the same in every run.
    return os.path.relpath(folder.states, root)


class Copy:
    """Brings what init has said into the log."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._at = 0
        self.begun = False

    async def later(self, quiet: float) -> None:
        """From some time on, bring it as it comes."""
        await anyio.sleep(quiet)
        self.begun = True
        while True:
            await to_thread.run_sync(self.now)
            await anyio.sleep(0.2)

    def now(self) -> None:
        """Bring what is new."""
        with contextlib.suppress(OSError), files.open_regular(self._folder.init_log) as said:
            said.seek(self._at)
            while block := said.read(_BLOCK):
                self._folder.append(block)
                self._at += len(block)
