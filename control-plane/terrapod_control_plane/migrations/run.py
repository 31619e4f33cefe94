"""Brings the database to the schema that this version needs."""

import contextlib
import io
import os
from pathlib import Path

import structlog
from anyio import to_thread
from piccolo.apps.migrations.commands.base import BaseMigrationManager
from piccolo.apps.migrations.commands.forwards import run_forwards

from terrapod_control_plane.kernel import db

log = structlog.get_logger()


class MigrationFailed(Exception):
    """The schema could not be brought up to date; the message holds what piccolo said."""


class RestoreUnfinished(Exception):
    """A restore into this database did not come to its end."""


# A table of this name says so: what is in the database is of no use yet.
UNFINISHED = "restore_unfinished"
# And a file of this name in the data directory, from before there is a database in it.
RESTORING = "restoring"
ALL = "all"


def known() -> list[str]:
    """The migrations of this version, oldest first."""
    manager = BaseMigrationManager()
    modules = manager.get_migration_modules(str(Path(__file__).parent / "versions"))
    return sorted(manager.get_migration_ids(modules))


async def migrate(dsn: str, data_dir: Path) -> None:
    """Apply what is missing; several processes may start at once, one at a time gets here."""
    marked = await db.value("select to_regclass($1) is not null", UNFINISHED)
    # It may have been killed before its database was there; a new one would take its place.
    begun = await to_thread.run_sync((data_dir / RESTORING).exists)
    if marked or (begun and not await db.value("select to_regclass('migration') is not null")):
        raise RestoreUnfinished(
            "a restore into this place did not come to its end: run `terrapod restore` again"
        )
    await up_to(dsn, ALL)


async def up_to(dsn: str, last: str) -> None:
    """Apply what is missing until this one."""
    # piccolo finds its configuration by this variable and by nothing else.
    os.environ["PICCOLO_CONF"] = "terrapod_control_plane.migrations.piccolo_conf"
    said = io.StringIO()
    async with db.advisory_lock(dsn, "migrations"):
        with contextlib.redirect_stdout(said):
            result = await run_forwards("terrapod", last)
    log.debug("migrations", said=said.getvalue().strip())
    if not result.success:
        raise MigrationFailed(f"{result.message}\n{said.getvalue().strip()}")
