"""Locks that one process of all replicas holds while it works, without a transaction.

They belong to a session: one connection of the process beside its pool. So work under a lock may
take its time on a network and keeps no transaction open, and a process that dies has let go. What
is read and written through the session itself can't happen any more once its locks are lost.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.transaction_end import WAKE

_TAKE = "select pg_try_advisory_lock(hashtextextended($1, 0)) as mine"
_LET_GO = "select pg_advisory_unlock(hashtextextended($1, 0))"
# Seconds. A silent network is noticed here before PostgreSQL drops the session after its 30, and
# gives the locks to another process.
_ANSWER = 5.0
_LOOK_EVERY = 5.0
_FAREWELL = 2.0
_ENDED: tuple[type[Exception], ...] = (OSError, TimeoutError, *db.UNCLEAR, *db.AWAY)


class LockLost(db.Unreachable):
    """The session has ended, and the lock with it: another process may hold it by now."""


class LockSession:
    """The locks of this process, and the connection that they live as long as."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Any = None
        self._speaking = anyio.Lock()  # a connection answers one statement at a time
        self._held: dict[str, anyio.CancelScope] = {}

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock until the block ends, unless somebody has it: whether it is held.

        When it is lost meanwhile the block is cancelled, and :class:`LockLost` raised in its place.
        """
        with anyio.CancelScope() as scope:
            mine = await self._take(name, scope)
            try:
                yield mine
            finally:
                await self._let_go(name, scope)
        if scope.cancelled_caught:
            raise LockLost(f"the lock {name!r} was lost with its connection")

    async def rows(self, sql: str, *args: object) -> Sequence[Mapping[str, Any]]:
        """All rows of a statement that happens under the locks; raises :class:`LockLost`."""
        async with self._speaking:
            return await self._ask(sql, *args)

    async def notify(self, topic: str) -> None:
        """Wake a topic in every process, which needs no lock and no place in the pool."""
        async with self._speaking:
            await self._connect()
            await self._ask(WAKE, [topic])

    async def keep(self) -> None:
        """Notice a connection that ended without a word; runs as a supervised loop."""
        while True:
            await anyio.sleep(_LOOK_EVERY)
            if self._connection is not None:
                await self.rows("select 1")

    async def close(self) -> None:
        """Let go of everything."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.move_on_after(_FAREWELL, shield=True):
                await connection.close(timeout=_FAREWELL)

    async def _take(self, name: str, scope: anyio.CancelScope) -> bool:
        async with self._speaking:
            # PostgreSQL would give a session twice what it has already.
            if name in self._held:
                return False
            await self._connect()
            # Cut off between the answer and us, the lock would stay in the session unseen.
            with anyio.CancelScope(shield=True):
                mine = bool((await self._ask(_TAKE, name))[0]["mine"])
            if mine:
                self._held[name] = scope
            return mine

    async def _let_go(self, name: str, scope: anyio.CancelScope) -> None:
        if self._held.get(name) is not scope:
            return
        with anyio.CancelScope(shield=True):
            async with self._speaking:
                # Lost while this waited, it may be held again by now, by somebody else.
                if self._held.get(name) is scope and await self._unlocked(name):
                    del self._held[name]

    async def _unlocked(self, name: str) -> bool:
        try:
            await self._ask(_LET_GO, name)
        except LockLost:
            return False  # nothing is held any more
        return True

    async def _connect(self) -> None:
        if self._connection is None:
            self._connection = await db.connect(self._dsn, command_timeout=_ANSWER)
            self._connection.add_termination_listener(self._ended)

    async def _ask(self, sql: str, *args: object) -> Sequence[Mapping[str, Any]]:
        if self._connection is None:
            raise LockLost("the connection that held the locks of this process has ended")
        try:
            found: Sequence[Mapping[str, Any]] = await self._connection.fetch(sql, *args)
        except _ENDED as error:
            self._lose()
            why = str(error) or type(error).__name__
            raise LockLost(f"the locks of this process are lost: {why}") from error
        return found

    def _ended(self, connection: Any) -> None:
        if connection is self._connection:
            self._lose()

    def _lose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
        held, self._held = self._held, {}
        for scope in held.values():
            scope.cancel("the lock is lost")
