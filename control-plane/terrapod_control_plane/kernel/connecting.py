"""Connections to PostgreSQL that end when it does not answer any more.

A database behind a network may go silent without a word: then nothing fails, and whoever waits for
it waits for ever. So each statement and each wait for a connection has a limit, and both ends look
whether the other one is there.
"""

import socket
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")

UNCLEAR = (asyncpg.InterfaceError, asyncpg.InternalClientError)
# Seconds: an end of a connection whose other end is gone is dropped after 30. Until PostgreSQL
# drops it, it keeps the locks of what it was doing.
_IDLE, _EVERY, _PROBES = 15, 5, 3
_SESSION = {
    "tcp_keepalives_idle": str(_IDLE),
    "tcp_keepalives_interval": str(_EVERY),
    "tcp_keepalives_count": str(_PROBES),
}
_OPTIONS = {
    "TCP_KEEPIDLE": _IDLE,
    "TCP_KEEPINTVL": _EVERY,
    "TCP_KEEPCNT": _PROBES,
    "TCP_USER_TIMEOUT": (_IDLE + _EVERY * _PROBES) * 1000,
}


class Unreachable(Exception):
    """There is no database at the given URL, it lets us not in, or it does not answer."""


async def connect(*args: Any, session: Mapping[str, str] | None = None, **options: Any) -> Any:
    """A connection with these settings of its session; raises :class:`Unreachable`."""
    made: Any = None
    try:
        made = await asyncpg.connect(*args, **options)
        _watch(made._transport.get_extra_info("socket"))  # noqa: SLF001 - it hands out no socket
        # Not said at the start, where a pooler in between may refuse what it does not know.
        wanted = _SESSION | dict(session or {})
        await made.execute("; ".join(f"set {name} = '{value}'" for name, value in wanted.items()))
    except BaseException as error:
        if made is not None:
            made.terminate()
        if isinstance(error, (OSError, TimeoutError, *UNCLEAR)):
            why = str(error) or type(error).__name__
            raise Unreachable(f"the database can't be reached: {why}") from error
        raise
    return made


def _watch(connected: Any) -> None:
    if connected is None or connected.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has them
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


# What any statement may raise.
BROKEN = (asyncpg.PostgresError, *UNCLEAR, Unreachable)


class Connection(asyncpg.Connection):
    """One of a pool: of no use any more when it has not answered in time."""

    def get_reset_query(self) -> str:
        """Connections of the pool hold no session state, so the round trip is saved."""
        return ""

    async def execute(self, *args: Any, **options: Any) -> str:
        """As asyncpg has it."""
        return await self._in_time(super().execute(*args, **options))

    async def fetch(self, *args: Any, **options: Any) -> Any:
        """As asyncpg has it."""
        return await self._in_time(super().fetch(*args, **options))

    async def fetchrow(self, *args: Any, **options: Any) -> Any:
        """As asyncpg has it."""
        return await self._in_time(super().fetchrow(*args, **options))

    async def fetchval(self, *args: Any, **options: Any) -> Any:
        """As asyncpg has it."""
        return await self._in_time(super().fetchval(*args, **options))

    async def _in_time(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except TimeoutError:
            # Asked to stop it would be as silent. Its place in the pool is free at once.
            self.terminate()
            raise Unreachable("the database has not answered in time") from None


class ConnectionPool(asyncpg.Pool):
    """A pool from which nobody waits for a connection for longer than for an answer."""

    def __init__(self, dsn: str, *, size: int, answer_within: float | None, **options: Any) -> None:
        self._answer_within = answer_within
        limits: dict[str, Any] = {}
        if answer_within is not None:
            # The server ends what takes too long; without a word from it we do, a moment later.
            limits = {
                "session": {"statement_timeout": str(round(answer_within * 1000))},
                "command_timeout": answer_within + 1,
                "timeout": answer_within,
            }
        super().__init__(
            dsn,
            min_size=min(2, size),
            max_size=size,
            max_queries=50_000,
            max_inactive_connection_lifetime=300.0,
            connect=connect,
            connection_class=Connection,
            record_class=asyncpg.Record,
            loop=None,
            **limits,
            **options,
        )

    async def _acquire(self, timeout: float | None) -> Any:
        try:
            return await super()._acquire(timeout or self._answer_within)  # type: ignore[misc]
        except TimeoutError:
            raise Unreachable("no connection to the database came free in time") from None
