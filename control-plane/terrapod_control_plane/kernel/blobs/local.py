"""Blobs in a folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from pathlib import Path
from typing import BinaryIO

import anyio
from anyio.to_thread import run_sync

from terrapod_common import files
from terrapod_control_plane.kernel.blobs.base import BadKey, BlobMissing

# What one hop to a worker thread moves: below this the hop costs more than the disk.
_BATCH = 256 * 1024
_INCOMING = ".incoming"
_MANY = 1000  # keys that are looked for in one hop
_LEFT_OVER_AFTER = 24 * 3600.0
_NOT_A_BLOB = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalBlobs:
    """A blob is a file below `root`, named by its key."""

    def __init__(
        self, root: Path, *, now: Callable[[], float] = time.time, durable: bool = True
    ) -> None:
        self._root = root
        self._durable = durable  # else somebody syncs all at once, at the end
        self._incoming = root / _INCOMING
        self._now = now

    async def put(self, key: str, chunks: AsyncIterable[bytes]) -> int:
        """Stores all chunks, atomically and durably, and returns their size."""
        target = self._path(key)
        draft = self._incoming / secrets.token_hex(16)
        file = await run_sync(_create, draft)
        try:
            size = await _fill(file, chunks)
            top = self._root if self._durable else None
            await run_sync(_publish, file, draft, target, top)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(_discard, file, draft)
        return size

    async def read(
        self, key: str, start: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from `start`, clipped at the end; raises BlobMissing at the first step."""
        if start < 0 or (length is not None and length < 0):
            raise ValueError("start and length of a read are not negative")
        path = self._path(key)
        try:
            file = await run_sync(_open_at, path, start)
        except _NOT_A_BLOB:
            raise BlobMissing(f"there is no blob {key}") from None
        with file:
            while length is None or length > 0:
                data = await run_sync(file.read, _BATCH if length is None else min(_BATCH, length))
                if not data:
                    return
                length = None if length is None else length - len(data)
                yield data

    async def put_whole(self, key: str, content: bytes) -> None:
        """As `put`, in one hop to a thread: for many small blobs."""
        target, draft = self._path(key), self._incoming / secrets.token_hex(16)
        await run_sync(_put_whole, draft, target, content, self._root if self._durable else None)

    async def read_whole(self, key: str, at_most: int) -> bytes | None:
        """A small blob in one hop to a thread; nothing when it is larger; raises BlobMissing."""
        try:
            return await run_sync(_read_whole, self._path(key), at_most)
        except _NOT_A_BLOB:
            raise BlobMissing(f"there is no blob {key}") from None

    async def opened(self, key: str) -> tuple[int, AsyncGenerator[bytes, None]]:
        """The size and all bytes of one blob, whatever is put in its place meanwhile."""
        try:
            file = await run_sync(_open_at, self._path(key), 0)
        except _NOT_A_BLOB:
            raise BlobMissing(f"there is no blob {key}") from None
        return os.fstat(file.fileno()).st_size, _all(file)

    async def size(self, key: str) -> int:
        """The size in bytes; raises BlobMissing."""
        try:
            found = await run_sync(os.stat, self._path(key))
        except _NOT_A_BLOB:
            found = None
        if found is None or not stat.S_ISREG(found.st_mode):
            raise BlobMissing(f"there is no blob {key}")
        return found.st_size

    async def delete(self, key: str) -> None:
        """Removes the blob; no error when there is none."""
        try:
            await run_sync(os.unlink, self._path(key))
        except _NOT_A_BLOB:
            return

    async def below(self, prefix: str = "") -> AsyncGenerator[str, None]:
        """The keys of all blobs below the prefix."""
        waiting = [self._path(prefix.rstrip("/")) if prefix else self._root]
        while waiting:
            for path in await run_sync(_some_below, waiting):
                yield path.relative_to(self._root).as_posix()

    async def check(self) -> None:
        """Raises OSError when the folder cannot be written; removes what crashes left behind."""
        await run_sync(_try_out, self._incoming, self._now() - _LEFT_OVER_AFTER)

    def _path(self, key: str) -> Path:
        segments = key.split("/")
        if "\0" in key or not all(segments) or any(part.startswith(".") for part in segments):
            raise BadKey(f"{key!r} is not a blob key")
        return self._root.joinpath(*segments)


async def _all(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    with file:
        while data := await run_sync(file.read, _BATCH):
            yield data


async def _fill(file: BinaryIO, chunks: AsyncIterable[bytes]) -> int:
    size, waiting = 0, bytearray()
    async for chunk in chunks:
        waiting += chunk
        size += len(chunk)
        if len(waiting) >= _BATCH:
            await run_sync(file.write, waiting)
            waiting = bytearray()
    await run_sync(file.write, waiting)
    return size


def _create(draft: Path) -> BinaryIO:
    if not draft.parent.is_dir():
        draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The root itself is new as well, and must survive a power failure with its first blob.
        files.sync_folder(draft.parent.parent)
        files.sync_folder(draft.parent.parent.parent)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "wb")


def _publish(file: BinaryIO, draft: Path, target: Path, root: Path | None) -> None:
    file.flush()
    if root is not None:
        os.fsync(file.fileno())
    file.close()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft.replace(target)
    # All the way up, whoever made the folders: another put may have made one just now and not
    # have reached its own sync yet.
    folder = target
    while root is not None and folder != root:
        folder = folder.parent
        files.sync_folder(folder)


def _put_whole(draft: Path, target: Path, content: bytes, root: Path | None) -> None:
    file = _create(draft)
    try:
        file.write(content)
        _publish(file, draft, target, root)
    finally:
        _discard(file, draft)


def _read_whole(path: Path, at_most: int) -> bytes | None:
    with path.open("rb", buffering=0) as file:
        content = file.read(at_most + 1)
    return content if len(content) <= at_most else None


def _discard(file: BinaryIO, draft: Path) -> None:
    with contextlib.suppress(OSError):
        file.close()  # writes what waits, once more where the disk is full
    draft.unlink(missing_ok=True)


def _some_below(folders: list[Path]) -> list[Path]:
    """Some of the blobs in these folders, which are looked at from the end until there are many."""
    found: list[Path] = []
    while folders and len(found) < _MANY:
        with contextlib.suppress(*_NOT_A_BLOB), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else found).append(Path(entry.path))
    return found


def _open_at(path: Path, start: int) -> BinaryIO:
    # Unbuffered: the batches are large already.
    file = path.open("rb", buffering=0)
    file.seek(start)
    return file


def _try_out(incoming: Path, left_over_before: float) -> None:
    draft = incoming / secrets.token_hex(16)
    with _create(draft) as file:
        try:
            file.write(b"ok")
            file.flush()
            os.fsync(file.fileno())
        finally:
            draft.unlink()
    for leftover in incoming.iterdir():
        try:
            if leftover.stat().st_mtime < left_over_before:
                leftover.unlink()
        except FileNotFoundError:
            continue
