"""What many who leave, and many who are slow, cost the server: memory, and the time of others.

``python -m tests.bench.crowd [--readers 10000] [--strangers 1000]`` measures only this.
"""

import argparse
import asyncio
import json
import secrets
import socket
import ssl
import sys
import time
from asyncio import Runner
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import uvloop

from terrapod_control_plane.cli.demo_stage import Stage
from tests.bench import light, memory, place, scenery, table
from tests.bench.light import Site
from tests.bench.place import Joined, api
from tests.bench.table import Row

READERS = 10_000
STRANGERS = 1_000
_THREADS = 4
_LOG_BYTES = 8 * 1024 * 1024
_CHUNK = 512 * 1024
_RESET = b"\1\0\0\0\0\0\0\0"  # the connection ends without a word
_DRIPS_SECONDS = 12.0


async def measure(stage: Stage, readers: int = READERS, strangers: int = STRANGERS) -> list[Row]:
    """Rows of the table."""
    site = place.people(stage)
    url = await _log(stage, site)
    # What a first use allocates is no growth.
    await asyncio.to_thread(_readers, url, site.trust, max(readers // 10, 1))
    before = memory.of(stage).server
    began = time.monotonic()
    await asyncio.to_thread(_readers, url, site.trust, readers)
    took = time.monotonic() - began
    after = memory.of(stage).server
    cut = Row(
        what=f"PSS of the server over {readers:,} cut readers of a log",
        ours=f"{before:.0f} MB before, {after:.0f} MB after",
        beside=f"{readers / took:,.0f} readers a second",
    )
    return [cut, await _slow(stage, site, strangers)]


async def _log(stage: Stage, site: Site) -> str:
    """Where the log of a plan under way is read."""
    pool = place.new_pool(stage, "crowd")
    agent = await place.join(stage, "crowd")
    workspace = await scenery.workspace(site, "crowd", pool)
    await scenery.configuration(site, workspace, "# empty")
    made = await site.once(
        site.request("POST", "/api/v2/runs", scenery.run_body(workspace, **{"plan-only": True}))
    )
    run = json.loads(made.body)["data"]["id"]
    await _say(agent)
    plan = await api(site, "GET", f"runs/{run}/plan")
    found: str = plan["attributes"]["log-read-url"]
    return found


async def _say(agent: Joined) -> None:
    at = f"/api/v2/listeners/{agent.listener}"
    next_ = f"{at}/runs/next?wait=10&slot=0&key=crowd&accept=plan"
    work = json.loads((await agent.site.once(agent.site.request("GET", next_))).body)
    report = json.dumps(
        {"status": "planning", "phase_id": work["phase_id"], "fence": work["fence"]}
    ).encode()
    start = agent.site.request("PATCH", f"{at}/runs/{work['run_id']}", report, "application/json")
    await agent.site.once(start)
    for offset in range(0, _LOG_BYTES, _CHUNK):
        query = f"fence={work['fence']}&offset={offset}"
        path = f"{at}/phases/{work['phase_id']}/log?{query}"
        said = secrets.token_hex(_CHUNK // 2).encode()
        await agent.site.once(agent.site.request("PUT", path, said, "text/plain"))


def _readers(url: str, trust: ssl.SSLContext, many: int) -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        for done in [threads.submit(_cut, url, trust) for _ in range(many)]:
            done.result()


def _cut(url: str, trust: ssl.SSLContext) -> None:
    at = urlsplit(url)
    with socket.create_connection((at.hostname or "", at.port or 443)) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with trust.wrap_socket(plain, server_hostname=at.hostname) as stream:
            stream.sendall(f"GET {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n".encode())
            stream.recv(1)


async def _slow(stage: Stage, site: Site, strangers: int) -> Row:
    before = memory.of(stage).server
    crowd = [await site.connect() for _ in range(strangers)]
    stop = time.monotonic() + _DRIPS_SECONDS
    took: list[float] = []
    asking = site.request("GET", "/health")

    async def drip(one: light.Connection) -> None:
        await one.begin(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        for _ in range(int(_DRIPS_SECONDS)):
            if await one.begin(b"a"):
                await asyncio.sleep(1)

    dripping = [asyncio.create_task(drip(one)) for one in crowd]
    while time.monotonic() < stop - 2:
        began = time.perf_counter()
        await site.once(asking)
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.05)
    during = memory.of(stage).server
    await asyncio.gather(*dripping)
    for one in crowd:
        await one.close()
    await asyncio.sleep(1)
    after = memory.of(stage).server
    slowest = 1e3 * light.quantile(took, 0.99)
    return Row(
        what=f"PSS of the server with {strangers:,} slow strangers",
        ours=f"{before:.0f} MB before, {during:.0f} MB with them, {after:.0f} MB after",
        beside=f"/health on a new connection meanwhile: p99 {slowest:.0f} ms",
    )


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--readers", type=int, default=READERS)
    parser.add_argument("--strangers", type=int, default=STRANGERS)
    options = parser.parse_args(arguments)
    stage = place.new_stage()
    try:
        place.start(stage)
        with Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(table.markdown(runner.run(measure(stage, options.readers, options.strangers))))
    finally:
        stage.end()


if __name__ == "__main__":
    main(sys.argv[1:])
