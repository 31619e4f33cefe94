"""The database: one engine for piccolo's tables and for plain SQL, one transaction at a time.

A transaction lives in a context variable: whatever is awaited inside it uses its connection. So
no task group is opened and nothing is fetched from a network inside of one.
"""

import enum
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
import asyncpg
import msgspec
from msgspec import Struct
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction
from piccolo.table import Table

from terrapod_control_plane.kernel.connecting import UNCLEAR, Pool, Unreachable, connect

__all__ = ["UNCLEAR", "Unreachable", "connect"]  # for those who use nothing else of it


class _Engine(PostgresEngine):
    async def check_version(self) -> None:
        """Piccolo asks at import, when there is nothing to connect to yet."""


ENGINE = _Engine(config={}, extensions=())

M = TypeVar("M", bound=Struct)

_AT_LENGTH = 86_400.0  # seconds
# What the transaction under way leaves to be done after its commit.
_AFTER: ContextVar[list[Callable[[], None]] | None] = ContextVar("after", default=None)

# A value that PostgreSQL cannot take as it is, such as text with a NUL; and a broken unique rule.
BadData = asyncpg.DataError
Duplicate = asyncpg.UniqueViolationError
Missing = asyncpg.ForeignKeyViolationError
TooLarge = asyncpg.ProgramLimitExceededError
Deadlock = asyncpg.DeadlockDetectedError


# What a database that is away or going away raises; asyncpg raises the last two also for mistakes.
AWAY: tuple[type[Exception], ...] = (
    *(asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError),
    *(asyncpg.InsufficientResourcesError, Unreachable),
)
BROKEN = (asyncpg.PostgresError, *UNCLEAR, Unreachable)


def cut_off(error: Exception) -> bool:
    """Whether an unclear one is about a connection that was cut, and not a mistake of ours."""
    return any(word in str(error) for word in ("closed", "closing", "another operation"))


def away(error: Exception) -> bool:
    """Whether it means no more than that the database can't be used for the moment."""
    return isinstance(error, AWAY) or (isinstance(error, UNCLEAR) and cut_off(error))


async def open_pool(dsn: str, *, size: int, answer_within: float | None = None) -> None:
    """Connect the engine; every table and every query of the process uses it from now on.

    A statement that takes longer is given up; without a limit it may take as long as it will.
    """
    ENGINE.config = {"dsn": dsn}
    # piccolo takes no connection class, so the pool is made here and handed to it.
    ENGINE.pool = await Pool(dsn, size=size, answer_within=answer_within, init=_prepare)


async def close_pool() -> None:
    """Give the connections back; no query may follow."""
    pool, ENGINE.pool = ENGINE.pool, None
    if pool is not None:
        with anyio.move_on_after(5, shield=True):
            await pool.close()


async def _prepare(connection: Any) -> None:
    try:
        # Text goes through as it is, since piccolo encodes JSON by itself.
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            encoder=lambda value: value if isinstance(value, str) else encode(value),
            decoder=json.loads,
        )
    except BaseException:
        connection.terminate()  # else asyncpg waits for its last word
        raise


def encode(value: object) -> str:
    """A value as JSON text, for a ``jsonb`` parameter."""
    return msgspec.json.encode(value).decode()


@asynccontextmanager
async def transaction() -> AsyncIterator[None]:
    """Everything inside happens or nothing does; inside another one it joins that one."""
    if ENGINE.current_transaction.get() is not None:
        yield
        return
    pool = _pool()
    after: list[Callable[[], None]] = []
    async with pool.acquire() as connection, connection.transaction():
        current = PostgresTransaction(ENGINE)
        current.connection = connection
        token, waiting = ENGINE.current_transaction.set(current), _AFTER.set(after)
        try:
            yield
        finally:
            ENGINE.current_transaction.reset(token)
            _AFTER.reset(waiting)
    for act in after:
        act()


def on_commit(act: Callable[[], None]) -> None:
    """Do this once the transaction has been committed, and never if it is not."""
    waiting = _AFTER.get()
    if waiting is None:
        act()
    else:
        waiting.append(act)


def in_transaction() -> bool:
    """Whether the caller is inside :func:`transaction`."""
    return ENGINE.current_transaction.get() is not None


def _pool() -> Any:
    if ENGINE.pool is None:
        raise RuntimeError("the database is not open")
    return ENGINE.pool


def _connection() -> Any:
    current = ENGINE.current_transaction.get()
    return _pool() if current is None else current.connection


async def rows(sql: str, *args: object) -> Sequence[Mapping[str, Any]]:
    """All rows of a query."""
    found: Sequence[Mapping[str, Any]] = await _connection().fetch(sql, *args)
    return found


async def row(sql: str, *args: object) -> Mapping[str, Any] | None:
    """The first row of a query, or nothing."""
    found: Mapping[str, Any] | None = await _connection().fetchrow(sql, *args)
    return found


async def value(sql: str, *args: object) -> Any:
    """The first column of the first row, or nothing."""
    return await _connection().fetchval(sql, *args)


async def execute(sql: str, *args: object) -> int:
    """Run a statement; how many rows it touched."""
    status: str = await _connection().execute(sql, *args)
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


async def execute_at_length(sql: str, *args: object) -> int:
    """Run a statement that may take longer than others are given, inside a transaction."""
    await execute("set local statement_timeout = 0")
    status: str = await _connection().execute(sql, *args, timeout=_AT_LENGTH)
    return int(status.rpartition(" ")[2])


def model(found: Mapping[str, Any], into: type[M]) -> M:
    """A row as a struct."""
    return msgspec.convert(dict(found), into)


async def one(into: type[M], sql: str, *args: object) -> M | None:
    """The first row as a struct, or nothing."""
    found = await row(sql, *args)
    return None if found is None else model(found, into)


async def many(into: type[M], sql: str, *args: object) -> list[M]:
    """All rows as structs."""
    return [model(found, into) for found in await rows(sql, *args)]


async def insert(table: type[Table], new: Struct) -> None:
    """Store a struct as a new row; its fields are the table's columns."""
    known = {c._meta.name for c in table._meta.columns}  # noqa: SLF001 - piccolo documents it
    values = {name: value for name, value in _columns(new).items() if name in known}
    await table.insert(table(**values))


async def update(table: type[Table], changed: Struct, *names: str) -> None:
    """Write the named fields of a struct (all without names) to the row with its id."""
    columns = _columns(changed)
    id_ = columns.pop("id")
    values: Any = {name: columns[name] for name in names or columns}
    key = table._meta.primary_key  # noqa: SLF001 - piccolo documents it
    await table.update(values).where(key == id_)


def _columns(struct: Struct) -> dict[str, Any]:
    return {f: _column(getattr(struct, f)) for f in struct.__struct_fields__}


def _column(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict | Struct) or (
        isinstance(value, list | tuple) and value and isinstance(value[0], dict | Struct)
    ):
        return encode(value)
    return list(value) if isinstance(value, tuple | frozenset) else value


@asynccontextmanager
async def advisory_lock(dsn: str, name: str) -> AsyncIterator[None]:
    """Hold a lock that at most one process of all replicas holds, on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("select pg_advisory_lock(hashtextextended($1, 0))", name)
        yield
    finally:
        with anyio.move_on_after(5, shield=True):
            await connection.close()


async def try_transaction_lock(name: str) -> bool:
    """Take a lock until the end of this transaction, unless another process holds it."""
    sql = "select pg_try_advisory_xact_lock(hashtextextended($1, 0))"
    return bool(await value(sql, name))
