"""Model, table and database say the same of every row."""

from typing import Any

import msgspec
import pytest
from msgspec import inspect
from piccolo.columns import JSONB, Array, BigInt, Boolean, Bytea, Integer, Text, Timestamptz

from terrapod_control_plane.kernel import db
from tests.kit.control import Control
from tests.kit.tables import Rows, rows, tables

pytestmark = pytest.mark.anyio

ROWS = rows()
each = pytest.mark.parametrize("found", ROWS.values(), ids=ROWS)

_COLUMNS = """
select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, not a.attnotnull as nullable
from pg_attribute a where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped
"""
_TYPES: dict[type, str] = {
    Text: "text",
    Timestamptz: "timestamp with time zone",
    Boolean: "boolean",
    Integer: "integer",
    BigInt: "bigint",
    JSONB: "jsonb",
    Bytea: "bytea",
    Array: "text[]",
}
_FIELDS: dict[str, tuple[type, ...]] = {
    "text": (inspect.StrType, inspect.EnumType, inspect.LiteralType),
    "timestamp with time zone": (inspect.DateTimeType,),
    "boolean": (inspect.BoolType,),
    "integer": (inspect.IntType,),
    "bigint": (inspect.IntType,),
    "bytea": (inspect.BytesType,),
    "text[]": (inspect.ListType, inspect.VarTupleType, inspect.FrozenSetType, inspect.SetType),
    "jsonb": (
        *(inspect.DictType, inspect.ListType, inspect.VarTupleType),
        *(inspect.StructType, inspect.AnyType, inspect.RawType),
    ),
}


async def columns(table: str) -> dict[str, tuple[str, bool]]:
    """Type of each column of a table, and whether it may be null."""
    return {row["name"]: (row["type"], row["nullable"]) for row in await db.rows(_COLUMNS, table)}


def test_every_table_has_a_model() -> None:
    assert set(tables()) == set(ROWS)


@each
async def test_piccolo_knows_the_columns_of_the_database(control: Control, found: Rows) -> None:
    known: Any = {column._meta.name: column for column in found.table._meta.columns}
    there = await columns(found.name)
    apart = found.made | found.beside
    unmade, untold = set(known) - apart - set(there), set(there) - apart - set(known)
    assert not unmade, f"in tables.py, made by no migration: {unmade}"
    assert not untold, f"made by a migration, not in tables.py: {untold}"
    assert apart <= set(there)
    for name, column in known.items():
        told = (_TYPES[type(column)], column._meta.null)
        assert told == there[name], f"{name}: type and null in tables.py, then in the database"


@each
async def test_every_field_is_a_column_of_its_type(control: Control, found: Rows) -> None:
    there = await columns(found.name)
    described = inspect.type_info(found.model)
    assert isinstance(described, inspect.StructType)
    fields = {field.name: field.type for field in described.fields}
    assert set(fields) - found.computed == set(there) - found.beside
    for name in set(fields) - found.computed:
        type_, nullable = there[name]
        options = flat(fields[name])
        optional = any(isinstance(one, inspect.NoneType) for one in options)
        assert nullable == optional, f"{name}: null in the database, then in model.py"
        kinds = [one for one in options if not isinstance(one, inspect.NoneType)]
        assert all(isinstance(one, _FIELDS[type_]) for one in kinds), name


def flat(type_: inspect.Type) -> tuple[inspect.Type, ...]:
    """What a value may be, without what is said about it."""
    if isinstance(type_, inspect.Metadata):
        return flat(type_.type)
    if isinstance(type_, inspect.UnionType):
        return tuple(one for each_ in type_.types for one in flat(each_))
    return (type_,)


@each
async def test_what_an_insert_leaves_out_has_a_value(control: Control, found: Rows) -> None:
    sql = _COLUMNS.replace("select", "select (atthasdef or attidentity <> '') as made,", 1)
    there = {row["name"]: row for row in await db.rows(sql, found.name)}
    for name in found.made | found.beside:
        assert there[name]["made"] or there[name]["nullable"], name


def test_a_mistake_would_be_seen() -> None:
    (field,) = msgspec.structs.fields(msgspec.defstruct("Wrong", [("at", int | None)]))
    kinds = flat(inspect.type_info(field.type))
    assert not all(isinstance(one, _FIELDS["bytea"]) for one in kinds)
