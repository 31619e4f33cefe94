"""The rows of all tables, out of one snapshot and back in, by PostgreSQL's own COPY.

Only rows are in a backup; the tables are made by the migrations. So the archive fits an embedded
database and any server, of this version of PostgreSQL or another.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from terrapod_control_plane.backup.archive import DATABASE, ArchiveWriter, Table
from terrapod_control_plane.backup.tar import BadBackup
from terrapod_control_plane.kernel import db
from terrapod_control_plane.migrations.run import UNFINISHED

_PART = 4 * 1024 * 1024
# piccolo's own; its rows are made by running the migrations.
_MIGRATIONS = "migration"

_TABLES = """
select c.relname as name, array_agg(a.attname::text order by a.attnum) as columns
from pg_class c join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid
where n.nspname = 'public' and c.relkind = 'r' and c.relname <> all($1)
    and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
group by c.relname order by c.relname
"""
_SEQUENCES = "select sequencename as name, last_value from pg_sequences where schemaname = 'public'"
_FOREIGN_KEYS = """
select conrelid::regclass::text as of, conname as name, pg_get_constraintdef(oid) as text
from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace
"""
_FUNCTIONS = """
select p.oid::regprocedure::text as name from pg_proc p
where p.pronamespace = 'public'::regnamespace
    and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
"""

# A database with this table is not whole: `serve` and `migrate` refuse it.
MARK = UNFINISHED


async def connect(dsn: str) -> Any:
    """A connection for long work."""
    settings = {
        "application_name": "terrapod backup",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
    }
    try:
        return await db.connect(dsn, server_settings=settings)
    except (asyncpg.PostgresError, ValueError) as error:
        raise db.Unreachable(f"the database can't be reached: {error}") from error


@asynccontextmanager
async def snapshot(connection: Any) -> AsyncIterator[None]:
    """Everything inside sees the database of one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield


async def tables(connection: Any) -> list[Table]:
    """All tables whose rows belong into a backup."""
    rows = await connection.fetch(_TABLES, [_MIGRATIONS, MARK])
    return [Table(name=row["name"], columns=row["columns"]) for row in rows]


async def migrations(connection: Any) -> list[str]:
    """Which migrations made these tables; none where there is nothing of ours."""
    if await connection.fetchval("select to_regclass($1)", _MIGRATIONS) is None:
        return []
    rows = await connection.fetch('select name from "migration" order by name')
    return [row["name"] for row in rows]


async def epoch(connection: Any) -> int:
    """The epoch of fences; 0 where the schema is older than those."""
    if await connection.fetchval("select to_regclass('installation')") is None:
        return 0
    found: int = await connection.fetchval("select epoch from installation")
    return found


async def sequences(connection: Any) -> dict[str, int]:
    """How far each numbering has come."""
    rows = await connection.fetch(_SEQUENCES)
    return {row["name"]: row["last_value"] for row in rows if row["last_value"] is not None}


async def dump(connection: Any, table: Table, archive: ArchiveWriter) -> Table:
    """Write the rows of a table, in parts that fit into memory."""
    waiting, parts, size = bytearray(), 0, 0

    def flush(at_least: int) -> None:
        nonlocal parts, size
        while len(waiting) >= at_least and waiting:
            piece = bytes(waiting[:_PART])
            del waiting[:_PART]
            parts, size = parts + 1, size + len(piece)
            archive.add(f"{DATABASE}/{table.name}/{parts:06d}", piece)

    async def take(data: bytes) -> None:
        waiting.extend(data)
        flush(_PART)

    said = await connection.copy_from_table(table.name, columns=table.columns, output=take)
    flush(1)
    return Table(name=table.name, columns=table.columns, rows=_count(said), size=size)


async def load(connection: Any, table: Table, rows: AsyncIterator[bytes]) -> int:
    """Put rows into a table; how many."""
    try:
        said = await connection.copy_to_table(table.name, columns=table.columns, source=rows)
    except asyncpg.PostgresError as error:
        raise BadBackup(f"the rows of {table.name} can't be stored: {error}") from error
    return _count(said)


def _count(said: str) -> int:
    return int(said.rpartition(" ")[2])


@asynccontextmanager
async def without_foreign_keys(connection: Any) -> AsyncIterator[None]:
    """Rows may come in any order; at the end all keys are checked at once."""
    keys = await connection.fetch(_FOREIGN_KEYS)
    for key in keys:
        await connection.execute(f'alter table {key["of"]} drop constraint "{key["name"]}"')
    yield
    for key in keys:
        try:
            await connection.execute(
                f'alter table {key["of"]} add constraint "{key["name"]}" {key["text"]}'
            )
        except asyncpg.ForeignKeyViolationError as error:
            raise BadBackup(f"rows of {key['of']} name others that are missing") from error


async def empty(connection: Any, of: Sequence[Table]) -> None:
    """Remove what the migrations have put in."""
    if of:
        names = ", ".join(f'"{table.name}"' for table in of)
        await connection.execute(f"truncate {names}")


async def set_sequences(connection: Any, to: dict[str, int]) -> None:
    """Go on numbering where the backup was."""
    for name, last in to.items():
        if await connection.fetchval("select to_regclass($1)", f'"{name}"') is None:
            raise BadBackup(f"there is no numbering {name}")
        await connection.execute("select setval($1::text::regclass, $2)", f'"{name}"', last)


# --- a restore under way --------------------------------------------------------------------------


async def is_marked(connection: Any) -> bool:
    """Whether a restore into this database did not come to its end."""
    return await connection.fetchval("select to_regclass($1)", MARK) is not None


async def mark(connection: Any) -> None:
    """From now on this database is of no use until the mark is taken away."""
    await connection.execute(f"create table if not exists {MARK} (since timestamptz)")


async def unmark(connection: Any) -> None:
    """It is whole."""
    await connection.execute(f"drop table {MARK}")


async def wipe(connection: Any) -> None:
    """Remove all that a restore has made, but for its mark."""
    async with connection.transaction():
        for row in await connection.fetch(_TABLES, [MARK]):
            await connection.execute(f'drop table "{row["name"]}" cascade')
        for row in await connection.fetch(_FUNCTIONS):
            await connection.execute(f"drop function {row['name']}")
