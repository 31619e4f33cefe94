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

from terrapod_control_plane.kernel import db

_LOCK = "select pg_advisory_lock(hashtextextended('single-node', 0))"
_HOLDER = """
select a.application_name from pg_locks l join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and a.datname = current_database()
  and (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('single-node', 0)
"""


class NotAlone(Exception):
    """Another control plane has the database; the message names it."""


@asynccontextmanager
async def only_one(dsn: str, name: str, *, patience: float) -> AsyncIterator[None]:
    """Hold the lock `single-node` until the block ends; raises :class:`NotAlone`."""
    settings = {"application_name": f"terrapod on {name}"}
    try:
        connection = await asyncpg.connect(dsn, server_settings=settings)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise db.Unreachable(f"the database can't be reached: {error}") from error
    try:
        await _acquire(connection, patience)
        yield
    finally:
        with anyio.move_on_after(2, shield=True):
            await connection.close(timeout=2)


async def _acquire(connection: Any, patience: float) -> None:
    try:
        await connection.execute(_LOCK, timeout=patience)
    except TimeoutError:
        holder = await connection.fetchval(_HOLDER) or "another process"
        raise NotAlone(
            f"{holder} uses this database already. Several replicas need Valkey, which this "
            "version does not support yet; stop the other one first"
        ) from None
