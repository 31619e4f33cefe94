"""The engine of piccolo's tables, and the pool that all statements of the process go through."""

from typing import Any

import anyio
import msgspec
from piccolo.engine.postgres import PostgresEngine

from terrapod_control_plane.kernel.connecting import ConnectionPool


class _Engine(PostgresEngine):
    async def check_version(self) -> None:
        """Piccolo asks at import, when there is nothing to connect to yet."""


ENGINE = _Engine(config={}, extensions=())


async def open_pool(dsn: str, *, size: int, answer_within: float | None = None) -> None:
    """Connect the engine; every table and every query of the process uses it from now on.

    A statement that takes longer (in seconds) is given up; without a limit it takes its time.
    """
    ENGINE.config = {"dsn": dsn}
    # piccolo takes no connection class, so the pool is made here and handed to it.
    ENGINE.pool = await ConnectionPool(dsn, size=size, answer_within=answer_within, init=prepare)


async def close_pool() -> None:
    """Give the connections back; no query may follow."""
    closing, ENGINE.pool = ENGINE.pool, None
    if closing is not None:
        with anyio.move_on_after(5, shield=True):
            await closing.close()


def pool() -> Any:
    """The pool of connections; raises RuntimeError while there is none."""
    if ENGINE.pool is None:
        raise RuntimeError("the database is not open")
    return ENGINE.pool


async def prepare(connection: Any) -> None:
    """Let a connection take and give values as our statements have them."""
    try:
        # Text goes through as it is: whoever wrote the statement has encoded it already.
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            encoder=lambda value: value if isinstance(value, str) else encode(value),
            decoder=msgspec.json.decode,
        )
    except BaseException:
        connection.terminate()  # else asyncpg waits for its last word
        raise


def encode(value: object) -> str:
    """A value as JSON text, for a ``jsonb`` parameter."""
    return msgspec.json.encode(value).decode()
