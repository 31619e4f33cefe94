"""Blobs in a folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import BinaryIO

import anyio
from anyio.to_thread import run_sync

from terrapod_common import files
from terrapod_control_plane.kernel.blobs.base import PLAIN, BadKey, BlobMissing, Transform
from terrapod_control_plane.kernel.blobs.write_behind import WriteBehind

# What one hop to a worker thread moves: below this the hop costs more than the disk.
_BATCH = 256 * 1024
_SMALL = 64 * 1024  # what is transformed in the event loop
_INCOMING = ".incoming"
_SETTLED_AT_MOST = 20_000  # folders that are remembered
_MANY = 1000  # keys that are looked for in one hop
_LEFT_OVER_AFTER = 24 * 3600.0
_NOT_A_BLOB = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalBlobs:
    """A blob is a file below `root`, named by its key."""

    def __init__(
        self, root: Path, *, now: Callable[[], float] = time.time, durable: bool = True
    ) -> None:
        self._root = root
        # Where nothing is durable somebody syncs all at once, at the end.
        self._folders = _Folders(root if durable else None)
        self._incoming = root / _INCOMING
        self._now = now

    async def put(
        self, key: str, chunks: AsyncIterable[bytes], transform: Transform = PLAIN
    ) -> int:
        """Stores all chunks, atomically and durably, and returns how much has been stored."""
        async with aclosing(_pieces(chunks)) as pieces:
            first = await anext(pieces, bytearray())
            if len(first) > _SMALL:
                return await self._put_large(self._path(key), first, pieces, transform)
        content = bytes(transform.update(first)) + transform.finalize()
        await transform.before_publish()
        await self.put_whole(key, content)
        return len(content)

    async def _put_large(
        self, target: Path, first: bytearray, rest: AsyncIterator[bytearray], transform: Transform
    ) -> int:
        """Writes in threads what comes, one piece behind; nothing counts until all agree."""
        draft, behind = self._draft(), WriteBehind()
        file = await run_sync(_create, draft)
        try:
            await behind.begin(_write, file, first, transform)
            async for piece in rest:
                await behind.begin(_write, file, piece, transform)
            await behind.begin(
                partial(_end, file, transform, durable=self._folders.top is not None)
            )
            await transform.before_publish()
            await behind.settle()
            size = os.fstat(file.fileno()).st_size
            file.close()
            await run_sync(self._folders.publish, draft, target)
        finally:
            with anyio.CancelScope(shield=True):
                await behind.leave()
                await run_sync(_discard, file, draft)
        return size

    def _draft(self) -> Path:
        return self._incoming / secrets.token_hex(16)

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
        await run_sync(_put_whole, self._draft(), self._path(key), content, self._folders)

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


async def _pieces(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytearray, None]:
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= _BATCH:
            yield waiting
            waiting = bytearray()
    if waiting:
        yield waiting


def _create(draft: Path) -> BinaryIO:
    if not draft.parent.is_dir():
        draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The root itself is new as well, and must survive a power failure with its first blob.
        files.sync_folder(draft.parent.parent)
        files.sync_folder(draft.parent.parent.parent)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "wb")


def _write(file: BinaryIO, piece: bytes | bytearray, transform: Transform) -> None:
    file.write(transform.update(piece))


def _end(file: BinaryIO, transform: Transform, *, durable: bool) -> None:
    file.write(transform.finalize())
    file.flush()
    if durable:
        os.fsync(file.fileno())


class _Folders:
    """Where blobs lie, so that each of them is found again after a power failure."""

    def __init__(self, top: Path | None) -> None:
        self.top = top  # without it nothing is synced
        self._settled: set[Path] = set()  # those that are known to be found themselves

    def publish(self, draft: Path, target: Path) -> None:
        """Puts a file that is synced in its place; what is there afterwards stays there."""
        folder = target.parent
        try:
            folder.mkdir(mode=0o700, parents=True)
            self._settled.discard(folder)
        except FileExistsError:
            pass
        draft.replace(target)
        if self.top is not None:
            files.sync_folder(folder)
            self._settle(folder, self.top)

    def _settle(self, folder: Path, top: Path) -> None:
        if folder in self._settled or folder == top:
            return
        # All the way up, whoever made the folders: another put may have made one just now and
        # not have reached its own sync yet.
        above = folder
        while above != top:
            above = above.parent
            files.sync_folder(above)
        if len(self._settled) >= _SETTLED_AT_MOST:
            self._settled.clear()
        self._settled.add(folder)


def _put_whole(draft: Path, target: Path, content: bytes, folders: _Folders) -> None:
    file = _create(draft)
    try:
        _write(file, content, PLAIN)
        _end(file, PLAIN, durable=folders.top is not None)
        file.close()
        folders.publish(draft, target)
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
