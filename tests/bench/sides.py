"""A server among those that are compared: what it is asked for, and what was found out about it."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct, field

from tests.bench import asking, memory, place, scenery, uploading
from tests.bench.asking import Case
from tests.bench.light import Load
from tests.bench.memory import Held
from tests.bench.place import Place
from tests.bench.statement_log import StatementLog, Statements
from tests.bench.uploading import Uploads

Send = Callable[[], Awaitable[object]]

COUNTED = 40  # requests of a case whose statements are counted
_COUNTED_UPLOADS, _COUNTED_LARGE = 10, 4
_SETTLES_SECONDS = 3.0  # after a start
_READERS_LEAVE_SECONDS = 35.0  # 30 without work, and a little


class Found(Struct):
    """What was measured."""

    loads: dict[tuple[str, int], list[Load]] = field(default_factory=dict)
    statements: dict[str, Statements] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)


class Side(Struct, kw_only=True):
    """A running server, and all that it is asked for."""

    name: str
    stage: Place
    database: Any
    cases: list[Case]
    uploads: Uploads
    found: Found

    async def load(self, case: Case, connections: int, count: int) -> None:
        """Measure one case on so many connections."""
        measured = await case.load(connections, count)
        self.found.loads.setdefault((case.name, connections), []).append(measured)

    async def count_statements(self) -> None:
        """What each request makes PostgreSQL execute."""
        connection = await self.database.acquire()
        log = StatementLog(self.stage, connection)
        known = next(case for case in self.cases if case.name == "workspace by name")
        await log.learn(await _sends(known))
        for case in self.cases:
            self.found.statements[case.name] = await log.count(await _sends(case))
        for name in uploading.AIMS:
            often = _COUNTED_LARGE if "20" in name else _COUNTED_UPLOADS
            uploads = [await self.uploads.sender(name) for _ in range(often)]
            await self.uploads.reconnect()
            self.found.statements[name] = await log.count(uploads)
        await self.database.release(connection)


async def _sends(case: Case) -> list[Send]:
    """Its requests in turn, on a connection that the server closes when they are over."""
    connection, requests = await case.site.connect(), itertools.cycle(case.requests)

    async def send() -> None:
        answer = await connection.ask(next(requests))
        assert answer.status < 400, answer.body

    await send()  # the first prepares statements
    return [send] * COUNTED


async def build(name: str, stage: Place) -> Side:
    """What a server that runs is measured on."""
    site = place.people(stage)
    database = await place.database(stage, 2)
    parked, _ = (place.new_pool(stage, pool) for pool in ("parked", "empty"))
    scene = await scenery.build(site, database, parked)
    empty = await place.join(stage, "empty")
    return Side(
        name=name,
        stage=stage,
        database=database,
        cases=await asking.cases(site, empty, database, scene),
        uploads=await uploading.opened(stage, parked),
        found=Found(),
    )


async def remember(side: Side, count: int) -> None:
    """Memory of a server that runs alone: started anew, after all that it can do, and later."""
    place.start(side.stage)
    await asyncio.sleep(_SETTLES_SECONDS)
    side.found.held["idle"] = memory.of(side.stage)
    for case in side.cases:
        await case.load(max(asking.CONNECTIONS), count)
    for name in uploading.AIMS:
        send = await side.uploads.sender(name)
        await side.uploads.reconnect()
        await send()
    await side.uploads.connection.close()
    side.found.held["after load"] = memory.of(side.stage)
    await asyncio.sleep(_READERS_LEAVE_SECONDS)
    side.found.held[f"{_READERS_LEAVE_SECONDS:.0f} s later"] = memory.of(side.stage)
    await asyncio.to_thread(place.stop, side.stage)
