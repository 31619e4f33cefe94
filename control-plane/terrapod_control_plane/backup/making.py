"""Makes a backup while all goes on: the database of one moment, and the blobs that it names."""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct

from terrapod_common.version import VERSION
from terrapod_control_plane.backup import archive, database
from terrapod_control_plane.backup.archive import ArchiveWriter, Header, Manifest, Store
from terrapod_control_plane.kernel import markers, spared
from terrapod_control_plane.kernel.blobs.base import BlobMissing
from terrapod_control_plane.kernel.blobs.local import LocalBlobs
from terrapod_control_plane.kernel.crypto.keys import KeyRing

CONTEXT = "backup"
# Of these ids is the second part of a key, wherever a blob belongs to a workspace.
_WORKSPACE = "ws-"


class NothingToBackUp(Exception):
    """There is no database of a control plane here."""


class Source(Struct, frozen=True, kw_only=True):
    """All that is backed up."""

    dsn: str
    stores: Mapping[str, LocalBlobs]  # raw: what is secret in them is sealed already
    ring: KeyRing
    with_keys: bool
    now: Callable[[], datetime]
    say: Callable[[str], None]  # progress, for people


async def make(source: Source, write: Callable[[bytes], object]) -> Manifest:
    """Write the archive; its caller finishes what is around it."""
    connection = await database.connect(source.dsn)
    try:
        async with spared.copying(connection):
            return await _Making(source, connection, write).all()
    finally:
        await connection.close()


class _Making:
    def __init__(self, source: Source, connection: Any, write: Callable[[bytes], object]) -> None:
        self._source = source
        self._connection = connection
        self._made_at = source.now()
        self._archive = ArchiveWriter(write, self._made_at)
        self._sequences: dict[str, int] = {}
        self._workspaces: set[str] = set()

    async def all(self) -> Manifest:
        """The members in their order."""
        async with database.snapshot(self._connection):
            header = await self._header()
            self._archive.add(archive.HEADER, msgspec.json.encode(header))
            tables = [await self._table(table) for table in header.tables]
            self._sequences = await database.sequences(self._connection)
            rows = await self._connection.fetch("select id from workspaces")
            self._workspaces = {row["id"] for row in rows}
        stores = {name: await self._store(name) for name in self._source.stores}
        # With this connection the lock is gone that keeps blobs from being deleted.
        await self._connection.execute("select 1")
        if self._source.with_keys:
            self._archive.add(archive.KEYS, self._source.ring.export().encode())
        manifest = Manifest(
            header=header,
            tables=tables,
            stores=stores,
            sequences=self._sequences,
            digests=self._archive.digests(),
            members=self._archive.members,
        )
        told = msgspec.json.encode(manifest)
        signature = self._source.ring.sign(sha256(told).digest(), CONTEXT)
        self._archive.finish(told, signature.encode())
        return manifest

    async def _header(self) -> Header:
        migrations = await database.migrations(self._connection)
        if not migrations or await database.is_marked(self._connection):
            raise NothingToBackUp("there is no whole database of a control plane here")
        return Header(
            format=archive.FORMAT,
            terrapod=VERSION,
            made_at=self._made_at,
            epoch=await database.epoch(self._connection),
            migrations=migrations,
            tables=await database.tables(self._connection),
            with_keys=self._source.with_keys,
        )

    async def _table(self, table: archive.Table) -> archive.Table:
        written = await database.dump(self._connection, table, self._archive)
        self._source.say(f"{written.name}: {written.rows:,} rows")
        return written

    async def _store(self, name: str) -> Store:
        store, blobs, size = self._source.stores[name], 0, 0
        async for key in store.below(""):
            if self._belongs(key) and (written := await self._blob(name, store, key)) is not None:
                blobs, size = blobs + 1, size + written
                self._source.say(f"{name}: {blobs:,}, {size / 1e6:,.0f} MB")
        return Store(blobs=blobs, size=size)

    def _belongs(self, key: str) -> bool:
        """Not what a deleted workspace left, nor markers, which are of what came later."""
        of = key.split("/")[1] if "/" in key else ""
        known = not of.startswith(_WORKSPACE) or of in self._workspaces
        return known and not key.startswith(markers.PREFIX)

    async def _blob(self, name: str, store: LocalBlobs, key: str) -> int | None:
        try:
            content = await store.read_whole(key, archive.SMALL)
            if content is not None:
                self._archive.add(f"{name}/{key}", content)
                return len(content)
            size, stream = await store.opened(key)
        except BlobMissing:
            return None  # its deletion began before the snapshot, which does not name it
        async with aclosing(stream):
            self._archive.begin(f"{name}/{key}", size)
            async for piece in stream:
                self._archive.data(piece)
            self._archive.end()
        return size
