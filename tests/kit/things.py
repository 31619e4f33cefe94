"""A table of no other meaning, with a column of every type that ours have."""

import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from piccolo.columns import JSONB, Array, BigInt, Boolean, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.engine import ENGINE
from terrapod_control_plane.kernel.repository import Repository

_CREATE = """
create table things (
    id text primary key, number bigint generated always as identity, name text not null unique,
    kind text not null, count integer not null, size bigint, on_sale boolean not null,
    sealed bytea, at timestamptz, words text[] not null, colours text[] not null,
    labels jsonb not null, parts jsonb not null, seen integer not null default 0)
"""
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


class Things(Table, tablename="things", db=ENGINE):
    """One row a thing; the database numbers them."""

    id = Text(primary_key=True)
    name = Text()
    kind = Text()
    count = Integer()  # type: ignore[assignment]  # piccolo has a method of the name
    size = BigInt(null=True)
    on_sale = Boolean()
    sealed = Bytea(null=True)
    at = Timestamptz(null=True)
    words = Array(Text())
    colours = Array(Text())
    labels = JSONB()
    parts = JSONB()
    seen = Integer()


class Kind(enum.Enum):
    """What a thing is."""

    TOOL = "tool"
    TOY = "toy"


class Colour(enum.Enum):
    """What it looks like."""

    RED = "red"
    BLUE = "blue"


class Part(Struct, frozen=True):
    """What a thing is made of."""

    name: str
    made_at: datetime


class Thing(Struct, frozen=True, kw_only=True):
    """Something."""

    id: str
    name: str
    kind: Kind = Kind.TOOL
    count: int = 1
    size: int | None = None
    on_sale: bool = False
    sealed: bytes | None = None
    at: datetime | None = None
    words: tuple[str, ...] = ()
    colours: list[Colour] = []
    labels: dict[str, str] = {}
    parts: list[Part] = []
    number: int = 0


def repository(**options: Any) -> Repository[Thing]:
    """A repository of things."""
    given: Any = {"made": ("number",), "beside": ("seen",)} | options
    return Repository(Things, Thing, **given)


THINGS = repository()


def thing(id_: str = "t1", **given: Any) -> Thing:
    """A thing with a name of its own."""
    return Thing(**{"id": id_, "name": f"the {id_}"} | given)


async def stored(*ids: str) -> list[Thing]:
    """Things that are stored."""
    return await THINGS.insert_all([thing(id_) for id_ in ids])


@asynccontextmanager
async def table_of_things() -> AsyncIterator[None]:
    """The table, until the end of the block."""
    await db.execute(_CREATE)
    try:
        yield
    finally:
        await db.execute("drop table things")
