"""Brings the database to the schema that this version needs.

Migrations are ours and not piccolo's, which commits a migration apart from the note that it is
done: whoever is killed in between can't start any more. Here all that is missing and the notes are
one transaction, so an upgrade that fails leaves the database as it was, for the version of before.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from anyio import to_thread

from terrapod_control_plane.kernel import db
from terrapod_control_plane.migrations import files
from terrapod_control_plane.migrations.files import VERSIONS, Migration

log = structlog.get_logger()


class MigrationFailed(Exception):
    """The schema could not be brought up to date; the message says which migration, and why."""


class RestoreUnfinished(Exception):
    """A restore into this database did not come to its end."""


# A table of this name says so: what is in the database is of no use yet.
UNFINISHED = "restore_unfinished"
# And a file of this name in the data directory, from before there is a database in it.
RESTORING = "restoring"
ALL = "all"

# As piccolo made it, which ran the first migrations.
_NOTES = """
create table if not exists migration (
    id serial primary key,
    name varchar(200) not null default '',
    app_name varchar(200) not null default '',
    ran_on timestamp not null default current_timestamp)
"""
_NOTE = "insert into migration (name, app_name) values ($1, 'terrapod')"


def known() -> list[str]:
    """The migrations of this version by their ids, oldest first."""
    return [one.id for one in files.read()]


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


async def up_to(dsn: str, last: str, folder: Path = VERSIONS) -> None:
    """Apply what is missing until this one, and all of it or nothing.

    Raises:
        MigrationFailed: PostgreSQL refused a statement, or there is no migration of this id.
    """
    wanted = await to_thread.run_sync(files.read, folder)
    if last != ALL:
        if last not in {one.id for one in wanted}:
            raise MigrationFailed(f"there is no migration {last}")
        wanted = [one for one in wanted if one.id <= last]
    async with db.advisory_lock(dsn, "migrations") as connection, connection.transaction():
        await _apply(connection, wanted)


async def _apply(connection: Any, wanted: Sequence[Migration]) -> None:
    await connection.execute(_NOTES)
    notes = await connection.fetch("select name from migration where app_name = 'terrapod'")
    done = {note["name"] for note in notes}
    for migration in wanted:
        if migration.id in done:
            continue
        try:
            await connection.execute(migration.sql)
        except asyncpg.PostgresError as error:
            why = f"{migration.id} ({migration.about}): {error}"
            raise MigrationFailed(f"the database stays as it was, for {why}") from error
        await connection.execute(_NOTE, migration.id)
        log.info("the schema was changed", migration=migration.id, about=migration.about)
