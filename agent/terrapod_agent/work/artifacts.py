"""What a plan leaves for its apply: packed and sent, fetched and checked."""

import hashlib
import os
import tarfile
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

import anyio
from msgspec import Struct

from terrapod_agent.client import Client
from terrapod_agent.errors import OperationFailed
from terrapod_agent.retry import retry
from terrapod_agent.work.archive import link_escapes
from terrapod_agent.work.phase_folder import Ticket
from terrapod_agent.work.prepare import DATA_FOLDER, LOCK_FILE
from terrapod_common import agent_protocol, files, wire
from terrapod_common.loops import Backoff
from terrapod_common.overrides import OVERRIDE

_LARGEST = 1024 * 1024 * 1024  # bytes of one artifact
_HISTORY = ".git"  # of a module, which nothing reads once it is installed
_MOST = 250_000  # files, as of a configuration
_LARGEST_FOLDER = 1_000_000  # entries

FileIndex = Mapping[Path, tuple[int, int, int]]


class WorkingTree(Struct, frozen=True):
    """A tree in which terraform works, and its root module in it."""

    tree: Path
    root: Path

    def refuse_links(self) -> None:
        """Raise :class:`OperationFailed` where the run has put a link in the place of one of them.

        What it leads to is the agent's to read, and not the run's.
        """
        for folder in (self.tree, self.root):
            if folder.resolve() != folder:
                raise OperationFailed(f"the run has put a link in the place of its folder {folder}")

    def files(self) -> Iterator[Path]:
        """All that is the user's, or made by the run."""
        return _walk(self.tree, {self.root / name for name in (DATA_FOLDER, LOCK_FILE, OVERRIDE)})

    def modules(self) -> Iterator[Path]:
        """What init has installed, but for providers, which come by the lock file."""
        data = self.root / DATA_FOLDER
        if data.is_dir() and not data.is_symlink():
            yield from _walk(data, {data / "providers"}, _HISTORY)


def index_files(working: WorkingTree) -> FileIndex:
    """The files of the tree, so that those which the plan makes can be told later."""
    working.refuse_links()
    return {path: _fingerprint(path) for path in working.files()}


def pack_created(working: WorkingTree, before: FileIndex, into: Path, limit: int) -> bool:
    """Pack modules, and what is new or changed since ``before``; false when there is nothing."""
    working.refuse_links()
    found = (path for path in working.files() if before.get(path) != _fingerprint(path))
    created = list(islice(found, _MOST + 1))
    if len(created) > _MOST:
        raise OperationFailed(
            f"the plan made more than {_MOST} files in the working tree, too many to be carried"
            " over to the apply"
        )
    size = sum(path.lstat().st_size for path in created)
    if size > limit:
        raise OperationFailed(
            f"the plan made {size} bytes of files in the working tree, more than the {limit}"
            " that are carried over to the apply"
        )
    # With the modules that were planned, whatever their sources give later. Large ones are
    # fetched again.
    modules = [path for path in working.modules() if not _link_refused(path, working.tree)]
    if sum(path.lstat().st_size for path in modules) <= limit - size:
        created += modules
    if created:
        with tarfile.open(into, "w:gz", compresslevel=3) as tar:
            for path in created:
                tar.add(path, path.relative_to(working.tree), recursive=False)
    return bool(created)


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file, in hex."""
    # The run made it: a link could lead to what only the agent may read.
    with files.open_regular(path) as file:
        # A file with a hole in it has any size at once, and to read it takes for ever.
        if (size := os.fstat(file.fileno()).st_size) > _LARGEST:
            raise OperationFailed(
                f"{path.name} has {size} bytes, more than the {_LARGEST} that are sent"
            )
        return hashlib.file_digest(file, "sha256").hexdigest()


async def upload(client: Client, ticket: Ticket, name: str, path: Path, backoff: Backoff) -> None:
    """Upload one artifact of a plan."""
    put = partial(
        client.upload,
        agent_protocol.ARTIFACT_PUT,
        path,
        phase_id=ticket.phase_id,
        fence=ticket.fence,
        name=name,
        digest=await anyio.to_thread.run_sync(sha256_of_file, path),
    )
    stored: wire.StoredAnswer = await retry(put, backoff)
    size = (await anyio.Path(path).stat()).st_size
    if stored.size != size:
        raise OperationFailed(f"the server stored {stored.size} bytes of {name}, not {size}")


async def download(
    client: Client, ticket: Ticket, name: str, expected: str, into: Path, backoff: Backoff
) -> None:
    """Download one artifact of the approved plan; another digest than expected is refused."""
    get = partial(
        client.download,
        agent_protocol.ARTIFACT_GET,
        into,
        phase_id=ticket.phase_id,
        fence=ticket.fence,
        name=name,
    )
    fetched = await retry(get, backoff)
    if fetched.digest != expected:
        await anyio.Path(into).unlink()
        raise OperationFailed(
            f"{name} of the approved plan is not what was approved; nothing is applied"
        )


def _walk(folder: Path, but: set[Path], without: str = "") -> Iterator[Path]:
    entries = list(islice(folder.iterdir(), _LARGEST_FOLDER + 1))
    if len(entries) > _LARGEST_FOLDER:
        raise OperationFailed(f"{folder.name} has more than {_LARGEST_FOLDER} entries")
    for path in sorted(entries):
        if path in but or path.name == without:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, but, without)
        elif path.is_symlink() or path.is_file():
            yield path


def _link_refused(path: Path, tree: Path) -> bool:
    return link_escapes(path, tree.resolve())


def _fingerprint(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_mtime_ns, status.st_size, status.st_ino
