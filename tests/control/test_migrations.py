"""Upgrades: all of one or nothing, and what was there is there after it, for today's code."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import msgspec
import pytest

from terrapod_control_plane.kernel import engine
from terrapod_control_plane.migrations import files, run
from terrapod_control_plane.migrations.run import MigrationFailed
from tests.kit import first_schema
from tests.kit.tables import rows

pytestmark = pytest.mark.anyio

FIRST, NEWEST = run.known()[0], run.known()[-1]
_TABLES = "select tablename from pg_tables where schemaname = 'public' and tablename <> 'migration'"
_COLUMNS = "select column_name from information_schema.columns where table_name = $1"
# Outputs and resources of a state are found in its content.
GONE = {"state_outputs": {"*"}, "state_versions": {"resources"}}


@pytest.fixture
async def database(fresh: str) -> AsyncIterator[Any]:
    """A connection to a database with nothing in it."""
    connection = await asyncpg.connect(fresh)
    await engine.prepare(connection)
    yield connection
    await connection.close()


async def schema(database: Any) -> set[str]:
    """The tables that there are."""
    return {row["tablename"] for row in await database.fetch(_TABLES)}


async def content(database: Any) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, in an order."""
    found = {}
    for table in await schema(database):
        all_rows = await database.fetch(f'select * from "{table}" order by 1')
        found[table] = [dict(row) for row in all_rows]
    return found


def migration(folder: Path, hour: int, sql: str) -> None:
    (folder / f"m{hour}.sql").write_text(f"-- 2099-01-01T{hour:02}:00:00:000000: more\n{sql}\n")


@pytest.mark.parametrize(
    "broken", ["create table b (); select 1 / 0", "create table a ()", "nonsense"]
)
async def test_one_that_fails_leaves_nothing_of_all(
    fresh: str, database: Any, tmp_path: Path, broken: str
) -> None:
    migration(tmp_path, 1, "create table a (id int); insert into a values (1)")
    migration(tmp_path, 2, broken)
    with pytest.raises(MigrationFailed, match=r"2099-01-01T02:00:00:000000 \(more\)"):
        await run.up_to(fresh, run.ALL, tmp_path)
    assert await schema(database) == set()
    assert await database.fetchval("select to_regclass('migration')") is None
    migration(tmp_path, 2, "create table b ()")
    await run.up_to(fresh, run.ALL, tmp_path)
    assert await schema(database) == {"a", "b"}


async def test_what_is_done_is_not_done_again(fresh: str, database: Any, tmp_path: Path) -> None:
    migration(tmp_path, 1, "create table a ()")
    await run.up_to(fresh, run.ALL, tmp_path)
    migration(tmp_path, 2, "create table b ()")
    migration(tmp_path, 3, "create table c ()")
    await run.up_to(fresh, "2099-01-01T02:00:00:000000", tmp_path)
    assert await schema(database) == {"a", "b"}
    with pytest.raises(MigrationFailed, match="no migration 2098"):
        await run.up_to(fresh, "2098", tmp_path)


async def test_a_database_that_piccolo_has_migrated_goes_on(fresh: str, database: Any) -> None:
    await run.up_to(fresh, NEWEST)
    described = await database.fetch(
        "select column_name, data_type, is_nullable, column_default "
        "from information_schema.columns where table_name = 'migration' order by ordinal_position"
    )
    assert [tuple(row.values()) for row in described] == first_schema.NOTES
    await run.up_to(fresh, run.ALL)
    assert await database.fetchval("select count(*) from migration") == len(run.known())


async def test_what_was_there_in_the_first_schema_is_there(fresh: str, database: Any) -> None:
    await run.up_to(fresh, FIRST)
    await database.execute(await anyio.Path(first_schema.SQL).read_text())
    before = await content(database)
    assert all(before.values()), "a table without a row proves nothing"
    await run.up_to(fresh, run.ALL)
    after = await content(database)
    for table, stored in before.items():
        gone = GONE.get(table, set())
        if gone == {"*"}:
            assert table not in after
            continue
        kept = set(stored[0]) - gone
        assert kept <= set(after[table][0])
        assert [{n: row[n] for n in kept} for row in after[table]] == [
            {n: row[n] for n in kept} for row in stored
        ]


async def test_todays_code_reads_what_the_first_schema_held(fresh: str, database: Any) -> None:
    await run.up_to(fresh, FIRST)
    await database.execute(await anyio.Path(first_schema.SQL).read_text())
    await run.up_to(fresh, run.ALL)
    now = await content(database)
    for name, found in rows().items():
        for row in now[name]:
            msgspec.convert(row, found.model)
    unread = {name for name in rows() if not now[name]}
    assert unread == {"recovery_findings"}  # which the first schema had not


def test_there_is_a_migration_to_speak_of() -> None:
    assert len(files.read()) > 1
