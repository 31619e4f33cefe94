"""`terrapod backup`: everything in one archive, while all goes on."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import anyio
import typer

from terrapod_common import files
from terrapod_control_plane.backup.tar import BadBackup
from terrapod_control_plane.cli.client import failed
from terrapod_control_plane.cli.default_command import DefaultGroup
from terrapod_control_plane.cli.secret_files import (
    IdentityFile,
    PassphraseFile,
    RecipientFile,
    opener,
    sealer,
)
from terrapod_control_plane.cli.settings import SettingsFile, read
from terrapod_control_plane.settings import Settings

if TYPE_CHECKING:
    from terrapod_control_plane.backup.archive import Manifest
    from terrapod_control_plane.backup.sealing import Sealer

_STDIO = "-"
_PARTIAL = ".partial"
_SAY_EVERY = 5.0


class _Group(DefaultGroup):
    default = "make"


app = typer.Typer(
    cls=_Group, help="Backups: `terrapod backup FILE` makes one.", no_args_is_help=True
)


class Progress:
    """Says on standard error what goes on, now and then."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def say(self, line: str) -> None:
        """One line, unless one was said just now."""
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY:
            self._said = now
            typer.echo(line, err=True)


@app.command("make")
def make(
    file: Annotated[str, typer.Argument(help="The archive to write; - is standard output.")],
    passphrase_file: PassphraseFile = None,
    recipient: RecipientFile = None,
    without_keys: Annotated[
        bool, typer.Option(help="Leave the key ring out; the archive need not be sealed then.")
    ] = False,
    settings: SettingsFile = None,
) -> None:
    """Back up database, blobs and keys, also while the server runs.

    The archive is sealed with a passphrase or for a key, since it holds the key ring.
    """
    from terrapod_control_plane.backup import making  # noqa: PLC0415 - slow to import
    from terrapod_control_plane.kernel.crypto.keys import KeyMissing  # noqa: PLC0415
    from terrapod_control_plane.kernel.db import BROKEN  # noqa: PLC0415
    from terrapod_control_plane.kernel.spared import AnotherBackup  # noqa: PLC0415

    effective = read(settings)
    seal = sealer(passphrase_file, recipient, optional=without_keys)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to leave nothing half behind
    try:
        with _target(file) as out:
            manifest = _written(effective, out, seal, with_keys=not without_keys)
    except (KeyMissing, AnotherBackup, making.NothingToBackUp, BadBackup, *BROKEN) as error:
        raise failed(f"No backup was made: {error}") from None
    except OSError as error:
        partial_ = str(error.filename or "").endswith(_PARTIAL)
        name = file if partial_ else error.filename or file
        raise failed(f"No backup was made: {name}: {error.strerror}") from None
    size = Path(file).stat().st_size if file != _STDIO else 0
    where = f" to {file}, {size / 1e6:,.1f} MB," if size else ""
    took = time.monotonic() - began
    typer.echo(f"Backed up {_told(manifest)}{where} in {took:.1f} s.", err=True)


def _written(
    settings: Settings, out: BinaryIO, seal: "Sealer | None", *, with_keys: bool
) -> "Manifest":
    from terrapod_control_plane.backup import making, sealing  # noqa: PLC0415 - slow to import
    from terrapod_control_plane.cli.database import database_beside  # noqa: PLC0415
    from terrapod_control_plane.kernel.blobs.local import LocalBlobs  # noqa: PLC0415
    from terrapod_control_plane.kernel.crypto.keys import ring_from  # noqa: PLC0415

    data = settings.data_dir
    with database_beside(settings) as dsn:
        source = making.Source(
            dsn=dsn,
            stores={name: LocalBlobs(data / name) for name in ("blobs", "binaries")},
            ring=ring_from(settings.encryption.keys.reveal(), data / "keys", may_create=False),
            with_keys=with_keys,
            now=partial(datetime.now, UTC),
            say=Progress().say,
        )
        if seal is None:
            return anyio.run(making.make, source, out.write)
        sealed = sealing.SealedWriter(out.write, seal)
        manifest = anyio.run(making.make, source, sealed.write)
        sealed.finish()
        return manifest


@app.command("verify")
def verify(
    file: Annotated[str, typer.Argument(help="The archive; - is standard input.")],
    passphrase_file: PassphraseFile = None,
    identity: IdentityFile = None,
) -> None:
    """Read an archive to its end and compare every digest."""
    from terrapod_control_plane.backup import restoring, sealing  # noqa: PLC0415 - slow to import
    from terrapod_control_plane.backup.archive import ArchiveReader  # noqa: PLC0415

    named = "The archive on standard input" if file == _STDIO else file
    try:
        with source(file) as stream:
            unsealed = sealing.opened(stream, partial(opener, passphrase_file, identity))
            manifest = restoring.check(ArchiveReader(unsealed))
    except (BadBackup, sealing.WrongSecret) as error:
        raise failed(f"{named} is not good: {error}") from None
    header = manifest.header
    typer.echo(f"{named} is whole: {_told(manifest)}.")
    typer.echo(f"  made {header.made_at:%Y-%m-%d %H:%M:%S} UTC by Terrapod {header.terrapod}")
    keys = "with the key ring" if header.with_keys else "without keys"
    typer.echo(f"  {keys}; {manifest.members:,} members, each as its sha256 says")


def _told(manifest: "Manifest") -> str:
    rows = sum(table.rows for table in manifest.tables)
    workspaces = next((t.rows for t in manifest.tables if t.name == "workspaces"), 0)
    blobs = sum(store.blobs for store in manifest.stores.values())
    size = sum(store.size for store in manifest.stores.values())
    return f"{rows:,} rows (workspaces: {workspaces:,}) and {blobs:,} blobs ({size / 1e6:,.1f} MB)"


@contextmanager
def source(file: str) -> Iterator[BinaryIO]:
    """An archive to read."""
    if file == _STDIO:
        yield sys.stdin.buffer
        return
    try:
        with Path(file).open("rb") as stream:
            yield stream
    except OSError as error:
        if error.filename != file:
            raise  # of something else, inside the block
        raise failed(f"{file} can't be read: {error.strerror}") from None


@contextmanager
def _target(file: str) -> Iterator[BinaryIO]:
    """A new file, which appears under its name only when all of it is on the disk."""
    if file == _STDIO:
        if sys.stdout.isatty():
            raise failed("An archive is nothing for a terminal: send it somewhere else.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    if path.exists() or path.is_symlink():
        raise failed(f"{path} is there already, and a backup overwrites nothing.")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, path)  # unlike a rename, it fails where somebody was faster
    except FileExistsError:
        raise failed(f"{path} is there already, and a backup overwrites nothing.") from None
    finally:
        draft.unlink(missing_ok=True)
    files.sync_folder(path.parent)
