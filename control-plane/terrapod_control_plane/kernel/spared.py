"""Deletions of blobs wait while a backup copies them.

A backup takes the database as it was at one moment and copies the blobs after that. What the
database named at that moment must stay until it was copied, though nobody needs it any more.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.blobs.base import PLAIN, Blobs, Transform

_LOCK = "hashtextextended('backup', 0)"
_BATCH = 500
_PATIENCE = 10.0


class AnotherBackup(Exception):
    """A backup of this control plane is running already."""


@asynccontextmanager
async def copying(connection: Any, patience: float = _PATIENCE) -> AsyncIterator[None]:
    """From now to the end of the block nothing is deleted. Begin before the snapshot is taken."""
    try:
        await connection.execute(f"select pg_advisory_lock({_LOCK})", timeout=patience)
    except TimeoutError:
        raise AnotherBackup("another backup of this control plane is running") from None
    try:
        yield
    finally:
        with anyio.move_on_after(_PATIENCE, shield=True):
            await connection.execute(f"select pg_advisory_unlock({_LOCK})")


class SparedBlobs:
    """A blob store whose deletions wait for the end of a backup."""

    def __init__(self, inner: Blobs, name: str) -> None:
        self._inner = inner
        self._name = name

    async def put(
        self, key: str, chunks: AsyncIterable[bytes], transform: Transform = PLAIN
    ) -> int:
        """Store all chunks; what was to be removed under this key is not to be any more."""
        await db.execute("delete from doomed_blobs where key = $1", f"{self._name}/{key}")
        return await self._inner.put(key, chunks, transform)

    def read(
        self, key: str, start: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from `start`."""
        return self._inner.read(key, start, length)

    async def size(self, key: str) -> int:
        """The size in bytes."""
        return await self._inner.size(key)

    async def delete(self, key: str) -> None:
        """Remove the blob, or note that it is to be removed once no backup runs."""
        if await _is_copied():
            sql = "insert into doomed_blobs values ($1, now()) on conflict do nothing"
            await db.execute(sql, f"{self._name}/{key}")
        else:
            await self._inner.delete(key)

    def below(self, prefix: str = "") -> AsyncGenerator[str, None]:
        """The keys of all blobs below the prefix."""
        return self._inner.below(prefix)

    async def check(self) -> None:
        """Raise when the store cannot be used."""
        await self._inner.check()


async def delete_doomed(stores: Mapping[str, Blobs]) -> None:
    """Remove what was to be removed while a backup ran, from spared stores by their names."""
    while not await _is_copied():
        found = await db.rows("select key from doomed_blobs limit $1", _BATCH)
        doomed = [row["key"] for row in found]
        # The rows go first: a blob that is left over is only of no use.
        await db.execute("delete from doomed_blobs where key = any($1)", doomed)
        for name, _, key in (one.partition("/") for one in doomed):
            await stores[name].delete(key)
        if len(found) < _BATCH:
            return


async def _is_copied() -> bool:
    # Outside of a transaction the lock is let go of at once; inside of one a backup waits for it.
    return not await db.value(f"select pg_try_advisory_xact_lock_shared({_LOCK})")
