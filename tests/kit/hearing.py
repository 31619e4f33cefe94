"""What a process has heard from its database, and waiting until it has heard all."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import anyio
import anyio.lowlevel

from terrapod_common.loops import Backoff, Loop, supervise
from terrapod_control_plane.identity import internal as identity
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.bus import Bus
from terrapod_control_plane.kernel.caches import Caches, Credential
from terrapod_control_plane.kernel.crypto import keys
from terrapod_control_plane.kernel.echo import Echo
from terrapod_control_plane.kernel.policy import Actor

_NUMBERS = count(1)
_AT_ONCE = Backoff(first=0.02, longest=0.1)


async def until(holds: Callable[[], bool]) -> None:
    """Until something is so."""
    with anyio.fail_after(20):
        while not holds():
            await anyio.lowlevel.checkpoint()


async def all_heard(bus: Bus) -> None:
    """Until all is heard that was committed before."""
    topic = f"test:{next(_NUMBERS)}"
    signal = bus.signal(topic)
    await db.execute("select pg_notify('terrapod', $1)", topic)
    with anyio.fail_after(20):
        await signal.wait()


class Ears:
    """What another process has that asks for credentials; its time stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.caches = Caches(Echo(lambda: self.seconds))
        self.bus = Bus(self.caches)
        self.looked = 0

    @asynccontextmanager
    async def listening(self, dsn: str) -> AsyncIterator[None]:
        """Hear what is committed, until the block ends."""
        stop = anyio.Event()
        loop = Loop("bus", lambda: self.bus.listen(dsn))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervise, [loop], stop, _AT_ONCE, db.away)
            try:
                yield
            finally:
                stop.set()

    async def fresh(self) -> None:
        """Until what it keeps counts."""
        await until(self.caches.echo.fresh)

    async def holder(self, token: str) -> Actor | None:
        """Who holds a token, as this process answers it."""
        now = await db.value("select now()")
        key = keys.digest(token)

        async def look() -> Credential | None:
            self.looked += 1
            return await identity.holder(key, now)

        return await self.caches.actor(key, now, look)
