"""`terrapod restore`: a control plane from an archive, in an empty place."""

import socket
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from terrapod_common import logs
from terrapod_control_plane.backup.tar import BadBackup
from terrapod_control_plane.cli.backup import Progress, source
from terrapod_control_plane.cli.client import failed
from terrapod_control_plane.cli.secret_files import IdentityFile, PassphraseFile, opener
from terrapod_control_plane.cli.settings import SettingsFile, read
from terrapod_control_plane.settings import Settings

if TYPE_CHECKING:
    from terrapod_control_plane.backup.archive import ArchiveReader, Manifest
    from terrapod_control_plane.backup.reviving import Alive, Revived

_SHOWN = 20
_PATIENCE = 1.0


def restore(
    file: Annotated[str, typer.Argument(help="The archive; - is standard input.")],
    passphrase_file: PassphraseFile = None,
    identity: IdentityFile = None,
    revoke_tokens: Annotated[
        bool, typer.Option(help="End all API tokens that the backup brings back.")
    ] = False,
    settings: SettingsFile = None,
) -> None:
    """Restore a backup into an empty data directory and an empty database.

    The server starts paused then, until `terrapod resume`.
    """
    from terrapod_control_plane.backup import restoring, sealing  # noqa: PLC0415 - slow to import
    from terrapod_control_plane.backup.archive import ArchiveReader  # noqa: PLC0415
    from terrapod_control_plane.cli.database import database  # noqa: PLC0415
    from terrapod_control_plane.kernel.crypto.keys import KeyMissing  # noqa: PLC0415
    from terrapod_control_plane.kernel.db import BROKEN  # noqa: PLC0415
    from terrapod_control_plane.kernel.single_instance import NotAlone  # noqa: PLC0415
    from terrapod_control_plane.migrations.run import MigrationFailed  # noqa: PLC0415

    effective, began = read(settings), time.monotonic()
    logs.configure("console", "warning")
    try:
        with source(file) as stream:
            plain = sealing.opened(stream, partial(opener, passphrase_file, identity))
            reader = ArchiveReader(plain)
            effective.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _begun(effective, reader), database(effective) as dsn:
                run = partial(_restore, effective, dsn, reader, revoke_tokens=revoke_tokens)
                manifest, revived = anyio.run(run)
    except (restoring.NotEmpty, restoring.ClockBehind, KeyMissing, NotAlone) as error:
        raise failed(f"Nothing was restored: {error}") from None
    except (BadBackup, sealing.WrongSecret) as error:
        raise failed(f"Nothing was restored: {error}") from None
    except (OSError, MigrationFailed, *BROKEN) as error:
        raise failed(f"Nothing was restored: {error}") from None
    _say(effective, manifest, revived, time.monotonic() - began)


def _begun(settings: Settings, reader: "ArchiveReader") -> AbstractContextManager[None]:
    from terrapod_control_plane.backup import restoring  # noqa: PLC0415 - slow to import

    keys = reader.header.with_keys and not settings.encryption.keys.reveal()
    return restoring.begun(settings.data_dir, brings_keys=keys)


async def _restore(
    settings: Settings, dsn: str, reader: "ArchiveReader", *, revoke_tokens: bool
) -> tuple["Manifest", "Revived"]:
    from terrapod_control_plane.backup import restoring  # noqa: PLC0415 - slow to import
    from terrapod_control_plane.kernel import db  # noqa: PLC0415
    from terrapod_control_plane.kernel.single_instance import only_one  # noqa: PLC0415

    target = restoring.Target(
        dsn=dsn,
        data_dir=settings.data_dir,
        given_keys=settings.encryption.keys.reveal(),
        revoke_tokens=revoke_tokens,
        now=partial(datetime.now, UTC),
        say=Progress().say,
    )
    async with only_one(dsn, f"restore on {socket.gethostname()}", patience=_PATIENCE):
        await db.open_pool(dsn, size=2)
        try:
            return await restoring.restore(target, reader)
        finally:
            await db.close_pool()


def _say(settings: Settings, manifest: "Manifest", revived: "Revived", took: float) -> None:
    header = manifest.header
    blobs = sum(store.blobs for store in manifest.stores.values())
    rows = sum(table.rows for table in manifest.tables)
    typer.echo(
        f"Restored the backup of {header.made_at:%Y-%m-%d %H:%M:%S} UTC: {rows:,} rows and "
        f"{blobs:,} blobs, each as its sha256 says, in {took:.1f} s."
    )
    typer.echo(f"Join tokens that were ended: {revived.join_tokens}. Make new ones for new agents.")
    _list("API tokens are good again", revived.tokens)
    _list("agents can come back", revived.agents)
    typer.echo(
        "What was revoked or deleted after the backup is not revoked here: look at both lists, "
        "and revoke again what has to be."
    )
    if revived.admin is None:
        typer.echo("There is no administrator in it who could get a token.")
    else:
        typer.echo(f"A new API token of {revived.admin} lies in {settings.token_file}.")
    typer.echo(
        "The server starts paused: start it, look at the runs, then let it go on with "
        "`terrapod resume`."
    )


def _list(what: str, alive: "Sequence[Alive]") -> None:
    typer.echo(f"{len(alive)} {what}{':' if alive else '.'}")
    for one in alive[:_SHOWN]:
        typer.echo(f"  {one.id}  {one.what}  of {one.since:%Y-%m-%d %H:%M}")
    if len(alive) > _SHOWN:
        typer.echo(f"  ... and {len(alive) - _SHOWN} more")
