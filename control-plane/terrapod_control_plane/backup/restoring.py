"""Brings a control plane back from an archive, into a place where nothing is."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from msgspec import Struct

from terrapod_common import files
from terrapod_control_plane.backup import archive, database, reviving
from terrapod_control_plane.backup.archive import ArchiveReader, Header, Manifest, Table
from terrapod_control_plane.backup.making import CONTEXT
from terrapod_control_plane.backup.reviving import Revived
from terrapod_control_plane.backup.tar import BadBackup, Member
from terrapod_control_plane.kernel.blobs.base import BadKey
from terrapod_control_plane.kernel.blobs.local import LocalBlobs
from terrapod_control_plane.kernel.crypto.keys import BadToken, KeyMissing, KeyRing
from terrapod_control_plane.migrations import run as migrations

STORES = ("blobs", "binaries")
# Beside a restore's blobs while it runs: only what it has put there itself may be removed again.
_MARK, _KEYS_TOO = migrations.RESTORING, b"keys"


class NotEmpty(Exception):
    """Something is there already; the message names it."""


class ClockBehind(Exception):
    """The clock of this machine is not right, and epochs take their numbers from it."""


class Target(Struct, frozen=True, kw_only=True):
    """Where to."""

    dsn: str
    data_dir: Path
    given_keys: str  # of the settings; empty: the ring is a file of the data directory
    revoke_tokens: bool
    now: Callable[[], datetime]
    say: Callable[[str], None]

    @property
    def keys(self) -> Path:
        """The file of the key ring."""
        return self.data_dir / "keys"


@contextmanager
def begun(data_dir: Path, *, brings_keys: bool) -> Iterator[None]:
    """Mark an empty data directory before a database is made in it; what fails takes it away."""
    fresh = {path.name for path in data_dir.iterdir()} <= {"keys"}
    if fresh:
        files.write_atomically(data_dir / _MARK, _KEYS_TOO if brings_keys else b"")
    try:
        yield
    except BaseException:
        if fresh:
            (data_dir / _MARK).unlink(missing_ok=True)
        raise


async def restore(target: Target, reader: ArchiveReader) -> tuple[Manifest, Revived]:
    """Read the archive once, and say that all is well only when each byte of it was checked."""
    connection = await database.connect(target.dsn)
    try:
        return await _Restoring(target, reader, connection).all()
    finally:
        await connection.close()


def check(reader: ArchiveReader, ring: KeyRing | None = None) -> Manifest:
    """Read an archive and compare each digest; its signature too, if its keys are there."""
    while (member := reader.peek()) is not None:
        if member.name == archive.KEYS:
            ring = _ring(reader.whole().decode("ascii", "replace"))
        else:
            for _ in reader.take():
                pass
    return _signed(reader, ring)


def _signed(reader: ArchiveReader, ring: KeyRing | None) -> Manifest:
    assert reader.manifest is not None
    if ring is not None:
        try:
            claim = ring.signed(reader.signature.decode("ascii", "replace"), CONTEXT)
        except BadToken:
            claim = b""
        if claim != sha256(reader.manifest_bytes).digest():
            raise BadBackup("the backup was not made with these keys, or it was changed")
    return reader.manifest


def _ring(text: str) -> KeyRing:
    try:
        return KeyRing.parse(text)
    except ValueError as error:
        raise BadBackup(f"the key ring in the backup is damaged: {error}") from None


class _Restoring:
    def __init__(self, target: Target, reader: ArchiveReader, connection: Any) -> None:
        self._target = target
        self._reader = reader
        self._header = reader.header
        self._connection = connection
        self._rows: dict[str, int] = {}
        self._blobs = dict.fromkeys(STORES, 0)
        self._keys = ""

    async def all(self) -> tuple[Manifest, Revived]:
        _fits(self._header)
        if self._target.now() < self._header.made_at:
            raise ClockBehind(
                f"the backup was made at {self._header.made_at:%Y-%m-%d %H:%M:%S} UTC, which the "
                "clock of this machine has not reached: set it right"
            )
        await self._clear_or_refuse()
        await database.mark(self._connection)
        ours = _KEYS_TOO if self._brings_keys else b""
        await run_sync(files.write_atomically, self._target.data_dir / _MARK, ours)
        try:
            await migrations.up_to(self._target.dsn, self._header.migrations[-1])
            manifest = await self._fill()
            await migrations.up_to(self._target.dsn, migrations.ALL)
            revived = await reviving.settle(
                self._target.now(), self._header.made_at, revoke_tokens=self._target.revoke_tokens
            )
        except BaseException:
            # The database keeps its mark until a restore has come to its end.
            self._remove_files()
            (self._target.data_dir / _MARK).unlink()
            raise
        self._write_keys(revived)
        await run_sync(os.sync)
        await database.unmark(self._connection)
        (self._target.data_dir / _MARK).unlink()  # last: until then the files may be made anew
        return manifest, revived

    # --- the place --------------------------------------------------------------------------------

    async def _clear_or_refuse(self) -> None:
        data = self._target.data_dir
        marked = await database.is_marked(self._connection)
        # Both marks: what lies there was put there by a restore into this database.
        left = await run_sync(files.read_regular, data / _MARK, 64) if marked else None
        ours = left is not None
        taken = [self._target.keys] if self._brings_keys and left != _KEYS_TOO else []
        if not ours:
            taken += [data / "admin-token", *(data / store for store in STORES)]
        for path in taken:
            if path.is_file() or (path.is_dir() and any(path.iterdir())):
                raise NotEmpty(f"{path} is there already: restore into an empty data directory")
        if not self._header.with_keys:
            self._present_ring()
        if ours:
            self._remove_files()
        if marked:
            await database.wipe(self._connection)
        elif found := await database.tables(self._connection):
            names = ", ".join(table.name for table in found[:3])
            raise NotEmpty(
                f"the database holds tables already ({names} ...): restore into an empty one"
            )

    @property
    def _brings_keys(self) -> bool:
        return self._header.with_keys and not self._target.given_keys

    def _remove_files(self) -> None:
        for store in STORES:
            shutil.rmtree(self._target.data_dir / store, ignore_errors=True)

    def _present_ring(self) -> KeyRing:
        text = self._target.given_keys
        try:
            return KeyRing.parse(text or self._target.keys.read_text("ascii"))
        except FileNotFoundError:
            raise KeyMissing(
                f"the backup was made without keys: put the key file to {self._target.keys}, or "
                "set TERRAPOD_ENCRYPTION__KEYS, before you restore it"
            ) from None
        except ValueError as error:
            raise KeyMissing(f"the present keys are no key ring: {error}") from None

    # --- what is in it ----------------------------------------------------------------------------

    async def _fill(self) -> Manifest:
        tables = {table.name: table for table in self._header.tables}
        stores = {name: LocalBlobs(self._target.data_dir / name, durable=False) for name in STORES}
        async with self._connection.transaction():
            await database.empty(self._connection, self._header.tables)
            async with database.without_foreign_keys(self._connection):
                while (member := self._reader.peek()) is not None:
                    kind, _, rest = member.name.partition("/")
                    if kind == archive.DATABASE:
                        await self._table(tables.get(rest.partition("/")[0]), member.name)
                    elif kind in stores:
                        await self._blob(stores[kind], member)
                    elif member.name == archive.KEYS:
                        self._keys = self._reader.whole().decode("ascii", "replace")
                    else:
                        raise BadBackup(f"{member.name} is no member of a backup")
            manifest = self._checked()
            await database.set_sequences(self._connection, manifest.sequences)
        return manifest

    async def _table(self, table: Table | None, member: str) -> None:
        if table is None:
            raise BadBackup(f"{member} belongs to no table of the backup")
        rows = self._reader.all_below(f"{archive.DATABASE}/{table.name}/")
        self._rows[table.name] = await database.load(self._connection, table, rows)
        self._target.say(f"{table.name}: {self._rows[table.name]:,} rows")

    async def _blob(self, store: LocalBlobs, member: Member) -> None:
        name, _, key = member.name.partition("/")
        try:
            if member.size <= archive.SMALL:
                await store.put_whole(key, self._reader.whole())
            else:
                await store.put(key, self._reader.one())
        except BadKey as error:
            raise BadBackup(f"{name}: {error}") from None
        self._blobs[name] += 1
        self._target.say(f"{name}: {self._blobs[name]:,}")

    def _checked(self) -> Manifest:
        ring = self._present_ring() if self._target.given_keys or not self._keys else None
        manifest = _signed(self._reader, ring or _ring(self._keys))
        rows = {table.name: table.rows for table in manifest.tables if table.rows}
        blobs = {name: manifest.stores[name].blobs for name in manifest.stores}
        if rows != {name: count for name, count in self._rows.items() if count}:
            raise BadBackup("the tables have not the rows that the manifest names")
        if blobs != self._blobs:
            raise BadBackup("there are not as many blobs as the manifest names")
        return manifest

    def _write_keys(self, revived: Revived) -> None:
        if self._keys and not self._target.given_keys:
            files.write_atomically(self._target.keys, f"{self._keys}\n".encode())
        if revived.admin is not None:
            token = self._target.data_dir / "admin-token"
            files.write_atomically(token, f"{revived.admin_token}\n".encode())


def _fits(header: Header) -> None:
    ours = migrations.known()
    if not header.migrations:
        raise BadBackup("the backup does not say which schema it has")
    if header.migrations[-1] > ours[-1] or not set(header.migrations) <= set(ours):
        raise BadBackup(
            f"the backup was made by a newer version, {header.terrapod}: install that one first"
        )
    if header.migrations != ours[: len(header.migrations)]:
        raise BadBackup(f"the backup has a schema that no version had: {header.terrapod} made it")
