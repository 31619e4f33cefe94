"""``terraform init``, whose output is shown only when it fails or takes long."""

import os
from functools import partial
from pathlib import Path

import anyio

from terrapod_agent.beside import beside
from terrapod_agent.trouble import Failed
from terrapod_agent.work import terraform
from terrapod_agent.work.folder import Folder
from terrapod_agent.work.prepare import LOCK_FILE
from terrapod_agent.work.steps import Steps


async def initialize(
    steps: Steps, folder: Folder, binary: Path, *, locked: bool, quiet: float
) -> None:
    """Run init, or raise :class:`Failed` after its output has been put into the log."""
    copy = _Copy(folder)
    locked = locked and (steps.root / LOCK_FILE).exists()
    argv = terraform.init(binary, _states(folder, steps.root), locked=locked)
    async with beside(partial(copy.later, quiet)):
        ended = await steps.checked("init", argv, folder.init_log)
    if ended.code != 0 or copy.begun:
        copy.now()
    if ended.code != 0:
        raise Failed(f"{binary.name} init failed ({ended.told()})", shown=ended.spoke)


def _states(folder: Folder, root: Path) -> str:
    # Relative, so that what terraform notes about it in the tree is the same in every run.
    return os.path.relpath(folder.states, root)


class _Copy:
    """Brings what init has said into the log."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._at = 0
        self.begun = False

    async def later(self, quiet: float) -> None:
        await anyio.sleep(quiet)
        self.begun = True
        while True:
            self.now()
            await anyio.sleep(0.2)

    def now(self) -> None:
        if self._folder.init_log.exists():
            with self._folder.init_log.open("rb") as said, self._folder.log.open("ab") as log:
                said.seek(self._at)
                log.write(said.read())
                self._at = said.tell()
