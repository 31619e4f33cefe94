"""What others notice while a state of very many outputs is stored and read."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.bench import light, scenery
from tests.bench.light import Connection, Site
from tests.bench.place import api
from tests.bench.table import Row
from tests.kit import factories

MANY = 200_000
_END = b"0\r\n\r\n"


def state(count: int, serial: int) -> bytes:
    """A state of so many outputs."""
    outputs = {f"o{n:06}": {"value": f"value {n}", "type": "string"} for n in range(count)}
    return json.dumps(factories.STATE | {"serial": serial, "outputs": outputs}).encode()


async def rows(site: Site, pool: str) -> list[Row]:
    """Pings on a connection of their own, alone and beside each deed."""
    workspace = await scenery.workspace(site, "crowded", pool)
    await api(site, "POST", f"workspaces/{workspace}/actions/lock", {})
    content = state(MANY, 1)

    async def store() -> None:
        await scenery.upload_state(site, workspace, content, 1)

    async def read() -> None:
        path = f"/api/v2/workspaces/{workspace}/current-state-version-outputs"
        await _drained(site, site.request("GET", path))

    async def page() -> None:
        current = f"workspaces/{workspace}/current-state-version"
        found: Any = await api(site, "GET", f"{current}?include=outputs")
        for number in range(1, 40):
            path = f"state-versions/{found['id']}/outputs?page%5Bsize%5D=100"
            await api(site, "GET", f"{path}&page%5Bnumber%5D={number * 50}")

    async def delete() -> None:
        await api(site, "POST", f"workspaces/{workspace}/actions/unlock", {})
        await api(site, "DELETE", f"workspaces/{workspace}")

    async def nothing() -> None:
        await asyncio.sleep(1)

    return [
        await _beside(site, "nothing else", nothing),
        await _beside(site, f"a state of {MANY:,} outputs is stored", store),
        await _beside(site, "all of them are read", read),
        await _beside(site, "39 pages of 100 of them are read", page),
        await _beside(site, "their workspace is deleted", delete),
    ]


async def _beside(site: Site, what: str, deed: Callable[[], Awaitable[None]]) -> Row:
    connection = await site.connect()
    request = site.request("GET", "/api/v2/ping")
    await connection.ask(request)
    times: list[float] = []
    pinging = asyncio.create_task(_ping(connection, request, times))
    began = time.perf_counter()
    await deed()
    took = time.perf_counter() - began
    pinging.cancel()
    await connection.close()
    p99 = 1e3 * light.quantile(times, 0.99)
    return Row(
        what=f"ping of another while {what}",
        ours=f"p99 {p99:.1f} ms, longest {1e3 * max(times):.1f} ms",
        beside=f"which took {took:.2f} s",
    )


async def _ping(connection: Connection, request: bytes, times: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await connection.ask(request)
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.002)


async def _drained(site: Site, request: bytes) -> None:
    """Take an answer in chunks, and drop it."""
    connection = await site.connect()
    connection.writer.write(request)
    last = b""
    while not last.endswith(_END):
        last = (last + await connection.reader.read(256 * 1024))[-len(_END) :]
    await connection.close()
