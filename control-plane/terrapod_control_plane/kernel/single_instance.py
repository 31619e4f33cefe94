"""One process at a time, while what may be lost lives in its memory.

Rate limits, one-time codes and presence are in the process unless Valkey holds them, so a second
replica on the same database would see only half of them. It waits a while, for a restart, and
then refuses to start.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import asyncpg

from terrapod_common.loops import Fatal
from terrapod_control_plane.kernel import db

_LOCK = "select pg_advisory_lock(hashtextextended('single-node', 0))"
_HOLDER = """
select a.application_name from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and a.datname = current_database()
  and (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('single-node', 0)
"""
_LOOK_EVERY = 5.0


class NotAlone(Fatal):
    """Another control plane has the database; the message names it."""


class SingleInstanceLock:
    """The lock `single-node`, held for as long as its connection lives."""

    def __init__(self, dsn: str, name: str, patience: float) -> None:
        self._dsn = dsn
        self._name = name
        self._patience = patience
        self._connection: Any = None

    async def acquire(self) -> None:
        """Take the lock; raises :class:`NotAlone` when another keeps it."""
        settings = {"application_name": f"terrapod on {self._name}"}
        try:
            fresh = await db.connect(
                self._dsn, server_settings=settings, command_timeout=_LOOK_EVERY
            )
        except (asyncpg.PostgresError, ValueError) as error:
            raise db.Unreachable(f"the database can't be reached: {error}") from error
        try:
            await _acquire(fresh, self._patience)
        except BaseException:
            await _close(fresh)
            raise
        self._connection = fresh

    async def keep(self) -> None:
        """Take the lock again whenever its connection is lost; runs as a supervised loop.

        Another process that was faster makes this one end.
        """
        while True:
            lost = anyio.Event()
            self._connection.add_termination_listener(lambda _, lost=lost: lost.set())
            while not lost.is_set() and await _alive(self._connection):
                with anyio.move_on_after(_LOOK_EVERY):
                    await lost.wait()
            await _close(self._connection)
            await self.acquire()

    async def release(self) -> None:
        """Let another have it."""
        if self._connection is not None:
            await _close(self._connection)


async def _alive(connection: Any) -> bool:
    # Asked, for a connection that ended without a word looks open.
    try:
        await connection.execute("select 1", timeout=_LOOK_EVERY)
    except (OSError, TimeoutError, *db.BROKEN):
        return False
    return True


async def _close(connection: Any) -> None:
    with anyio.move_on_after(2, shield=True):
        try:
            await connection.close(timeout=2)
        except (OSError, TimeoutError, *db.BROKEN):
            connection.terminate()


@asynccontextmanager
async def only_one(dsn: str, name: str, *, patience: float) -> AsyncIterator[SingleInstanceLock]:
    """Hold the lock until the block ends; raises :class:`NotAlone`."""
    alone = SingleInstanceLock(dsn, name, patience)
    try:
        await alone.acquire()
        yield alone
    finally:
        await alone.release()


async def _holder(connection: Any) -> str:
    try:
        return await connection.fetchval(_HOLDER) or "another process"
    except TimeoutError:
        raise db.Unreachable("the database has not answered in time") from None


async def _acquire(connection: Any, patience: float) -> None:
    try:
        await connection.execute(_LOCK, timeout=patience)
    except TimeoutError:
        raise NotAlone(
            f"{await _holder(connection)} uses this database already. Several replicas need "
            "Valkey, which this version does not support yet; stop the other one first"
        ) from None
