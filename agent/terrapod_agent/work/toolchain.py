"""Keeps the executables of terraform and tofu, by digest, verified before each is used."""

import hashlib
import stat
import time
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio import to_thread

from terrapod_agent.client import Client, ToolLocation
from terrapod_agent.errors import OperationFailed
from terrapod_agent.retry import retry
from terrapod_common import files, wire
from terrapod_common.loops import Backoff

log = structlog.get_logger()

_Print = tuple[int, int, int, int]
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def platform_name(system: str, machine: str) -> str:
    """A platform as terraform names it, such as linux_amd64."""
    machine = machine.lower()
    return f"{system.lower()}_{_ARCHITECTURES.get(machine, machine)}"


class Toolchain:
    """The cache of executables of this agent."""

    def __init__(self, folder: Path, client: Client, backoff: Backoff, platform: str) -> None:
        self._folder = folder
        self._client = client
        self._backoff = backoff
        self._os, _, self._arch = platform.partition("_")
        self._one_at_a_time = anyio.Lock()  # slots that want the same tool download it once
        self._checked: dict[Path, _Print] = {}  # as they were when their digest was right

    async def get(self, tool: wire.Tool) -> Path:
        """The executable for a phase."""
        async with self._one_at_a_time:
            if tool.digest and (cached := await self._cached(tool, tool.digest)):
                return cached
            locate = partial(
                self._client.locate_tool,
                tool=tool.name,
                version=tool.version,
                os=self._os,
                arch=self._arch,
            )
            located = await retry(locate, self._backoff)
            wanted = tool.digest or located.digest
            return await self._cached(tool, wanted) or await self._download(tool, located, wanted)

    async def unchanged(self, path: Path) -> None:
        """Raise :class:`OperationFailed` when a tool is no longer the one that :meth:`get` gave."""
        if not await self._right(path):
            raise OperationFailed(
                f"{path.name} was changed on the agent's machine; it is not started"
            )

    def sweep(self, days: float) -> None:
        """Remove what no phase has used for so long."""
        for path in self._folder.glob("*/*"):
            if path.parent.stat().st_mtime < time.time() - days * 86400:
                log.info("removing an unused tool", tool=path.name, digest=path.parent.name)
                path.unlink()
                path.parent.rmdir()

    async def _download(self, tool: wire.Tool, located: ToolLocation, wanted: str) -> Path:
        part = files.private_folder(self._folder) / f".{tool.name}.part"
        fetched = await retry(partial(self._client.download_tool, located, part), self._backoff)
        if fetched.digest != wanted:
            part.unlink()
            raise OperationFailed(
                f"{tool.name} {tool.version} arrived with the digest {fetched.digest},"
                f" expected {wanted}; it is not used"
            )
        path = self._path(tool, wanted)
        files.private_folder(path.parent)
        part.chmod(0o755)  # runs that are other users start it, too
        part.rename(path)
        await self.unchanged(path)
        return path

    async def _cached(self, tool: wire.Tool, digest: str) -> Path | None:
        path = self._path(tool, digest)
        if not path.exists():
            return None
        if not await self._right(path):
            log.error("a tool in the cache was changed; it is fetched again", path=str(path))
            path.unlink(missing_ok=True)
            return None
        path.parent.touch()  # the sweep goes by this
        return path

    async def _right(self, path: Path) -> bool:
        """Whether a tool has the digest that its folder is named for.

        It is read only when size, inode or times are not those of the last time. The time of
        change is the kernel's: whoever writes to a file can't set it back.
        """
        now = _print(path)
        if now is not None and now == self._checked.get(path):
            return True
        self._checked.pop(path, None)
        right = await to_thread.run_sync(_digest, path) == path.parent.name
        # Looked at before it was read: a change meanwhile is a change after the check.
        if right and now is not None:
            self._checked[path] = now
        return right

    def _path(self, tool: wire.Tool, digest: str) -> Path:
        return self._folder / digest / tool.name


def _print(path: Path) -> _Print | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def _digest(path: Path) -> str:
    try:
        with files.open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
