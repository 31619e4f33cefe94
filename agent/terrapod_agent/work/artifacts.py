"""What a plan leaves for its apply: packed and sent, fetched and checked."""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import anyio

from terrapod_agent.client import Client
from terrapod_agent.contact import insist
from terrapod_agent.trouble import Failed
from terrapod_agent.work.folder import STATE_HOME, Ticket
from terrapod_agent.work.prepare import LOCK_FILE, OVERRIDE, VALUES
from terrapod_common import protocol, wire
from terrapod_common.loops import Backoff

_OURS = (OVERRIDE, VALUES, LOCK_FILE)

Seen = Mapping[Path, tuple[int, int, int]]


def snapshot(tree: Path) -> Seen:
    """The files of the tree, so that those which the plan makes can be told later."""
    return {path: _print(path) for path in _walk(tree)}


def pack_created(tree: Path, before: Seen, into: Path, limit: int) -> bool:
    """Pack what is new or changed since ``before``; false when there is nothing."""
    created = [path for path in _walk(tree) if before.get(path) != _print(path)]
    size = sum(path.lstat().st_size for path in created)
    if size > limit:
        raise Failed(
            f"the plan made {size} bytes of files in the working tree, more than the {limit}"
            " that are carried over to the apply"
        )
    if created:
        with tarfile.open(into, "w:gz", compresslevel=3) as tar:
            for path in created:
                tar.add(path, path.relative_to(tree), recursive=False)
    return bool(created)


def digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def send(client: Client, ticket: Ticket, name: str, path: Path, backoff: Backoff) -> None:
    """Upload one artifact of a plan."""
    put = partial(
        client.send,
        protocol.ARTIFACT_PUT,
        path,
        phase_id=ticket.phase_id,
        fence=ticket.fence,
        name=name,
        digest=digest(path),
    )
    stored: wire.Stored = await insist(put, backoff)
    size = (await anyio.Path(path).stat()).st_size
    if stored.size != size:
        raise Failed(f"the server stored {stored.size} bytes of {name}, not {size}")


async def fetch(
    client: Client, ticket: Ticket, name: str, expected: str, into: Path, backoff: Backoff
) -> None:
    """Download one artifact of the approved plan; another digest than expected is refused."""
    get = partial(
        client.fetch,
        protocol.ARTIFACT_GET,
        into,
        phase_id=ticket.phase_id,
        fence=ticket.fence,
        name=name,
    )
    fetched = await insist(get, backoff)
    if fetched.digest != expected:
        await anyio.Path(into).unlink()
        raise Failed(f"{name} of the approved plan is not what was approved; nothing is applied")


def _walk(tree: Path) -> Iterator[Path]:
    for path in sorted(tree.iterdir()):
        if path.name in (".terraform", STATE_HOME) or path.name.endswith(_OURS):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        elif path.is_symlink() or path.is_file():
            yield path


def _print(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_mtime_ns, status.st_size, status.st_ino
