"""The database: plain SQL, one transaction at a time; rows of tables go by repositories.

A transaction lives in a context variable: whatever is awaited inside it uses its connection. So
no task group is opened and nothing is fetched from a network inside of one.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import asyncpg
import msgspec
from msgspec import Struct

from terrapod_control_plane.kernel import engine, transactions
from terrapod_control_plane.kernel.connecting import BROKEN, UNCLEAR, Unreachable, connect
from terrapod_control_plane.kernel.engine import ENGINE, close_pool, encode, open_pool
from terrapod_control_plane.kernel.transactions import (
    Doomed,
    in_transaction,
    on_commit,
    savepoint,
    transaction,
)

# For those who use nothing else of it.
__all__ = ["BROKEN", "ENGINE", "UNCLEAR", "Doomed", "Unreachable", "close_pool", "connect"]
__all__ += ["encode", "in_transaction", "on_commit", "open_pool", "savepoint", "transaction"]

M = TypeVar("M", bound=Struct)

_AT_LENGTH = 86_400.0  # seconds

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


def cut_off(error: Exception) -> bool:
    """Whether an unclear one is about a connection that was cut, and not a mistake of ours."""
    return any(word in str(error) for word in ("closed", "closing", "another operation"))


def away(error: Exception) -> bool:
    """Whether it means no more than that the database can't be used for the moment."""
    return isinstance(error, AWAY) or (isinstance(error, UNCLEAR) and cut_off(error))


async def _to(sql: str) -> Any:
    """Whom to send a statement; what waits and is to be seen by it is written first."""
    opened = transactions.current()
    if opened is None:
        return engine.pool()
    for participant in opened.participants:
        await participant.before(sql)
    return opened.connection


async def rows(sql: str, *args: object) -> Sequence[Mapping[str, Any]]:
    """All rows of a query."""
    found: Sequence[Mapping[str, Any]] = await (await _to(sql)).fetch(sql, *args)
    return found


async def row(sql: str, *args: object) -> Mapping[str, Any] | None:
    """The first row of a query, or nothing."""
    found: Mapping[str, Any] | None = await (await _to(sql)).fetchrow(sql, *args)
    return found


async def value(sql: str, *args: object) -> Any:
    """The first column of the first row, or nothing."""
    return await (await _to(sql)).fetchval(sql, *args)


async def execute(sql: str, *args: object) -> int:
    """Run a statement; how many rows it touched."""
    status: str = await (await _to(sql)).execute(sql, *args)
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


async def execute_at_length(sql: str, *args: object) -> int:
    """Run a statement that may take longer than others are given, inside a transaction."""
    await execute("set local statement_timeout = 0")
    status: str = await (await _to(sql)).execute(sql, *args, timeout=_AT_LENGTH)
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


@asynccontextmanager
async def advisory_lock(dsn: str, name: str) -> AsyncIterator[Any]:
    """Hold a lock that at most one process of all replicas holds, on a connection of its own.

    The connection may be used as long as the lock is held.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("select pg_advisory_lock(hashtextextended($1, 0))", name)
        yield connection
    finally:
        with anyio.move_on_after(5, shield=True):
            await connection.close()
