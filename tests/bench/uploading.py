"""Uploads of states and configurations: how long, who waits meanwhile, what stays in memory.

``python tests/bench/run.py uploads [--rounds 3]``
"""

import argparse
import asyncio
import gzip
import hashlib
import io
import itertools
import json
import random
import signal
import sys
import tarfile
import time
from asyncio import Runner
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import uvloop
from msgspec import Struct

from terrapod_control_plane.cli.demo_stage import Stage
from tests.bench import light, memory, place, scenery, table
from tests.bench.light import Connection, Site
from tests.bench.place import api
from tests.bench.table import Row
from tests.kit import factories

_TRIES = 10
_MB = 1_000_000
CONTENTS: dict[str, Callable[[int], bytes]] = {
    "state of 10 KB": lambda serial: scenery.state(10_000, serial),
    "state of 1 MB": lambda serial: scenery.state(_MB, serial),
    "state of 20 MB": lambda serial: scenery.state(20 * _MB, serial),
    "state of 20 MB in one output": lambda serial: one_output(20 * _MB, serial),
}
AIMS = {
    "state of 10 KB": "5 ms",
    "state of 1 MB": "15 ms",
    "state of 20 MB": "160 ms",
    "state of 20 MB in one output": "160 ms",
    "configuration of 5 MB": "25 ms",
}


class Took(Struct):
    """Seconds of some uploads, of processors too, and the pings beside them."""

    seconds: list[float] = []
    work: list[float] = []
    pings: list[float] = []


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stage = place.new_stage()
    try:
        place.start(stage)
        with Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(_measured(stage, options.rounds))
    finally:
        stage.end()
    print(table.markdown(found))


async def _measured(stage: Stage, rounds: int) -> list[Row]:
    site, pool = place.people(stage), place.new_pool(stage, "parked")
    idle = memory.of(stage)
    workspace = await scenery.workspace(site, "uploaded", pool)
    await api(site, "POST", f"workspaces/{workspace}/actions/lock", {})
    serials, archive = itertools.count(1), configuration(5 * _MB)
    found = {name: Took() for name in AIMS}
    connection = await site.connect()
    for number in range(rounds):
        print(f"round {number + 1}", file=sys.stderr, flush=True)
        for name, made in CONTENTS.items():
            for _ in range(_TRIES if "20" not in name else _TRIES // 2):
                content = made(serial := next(serials))
                sending = _state(site, connection, workspace, (content, serial))
                await _beside(stage, site, found[name], sending)
        for _ in range(_TRIES):
            sending = await _configuration(site, connection, workspace, archive)
            await _beside(stage, site, found["configuration of 5 MB"], sending)
    await connection.close()
    rows = [_row(name, took) for name, took in found.items()]
    return [*rows, *memory.rows(idle, memory.of(stage))]


def _row(name: str, took: Took) -> Row:
    fastest, middle = 1e3 * min(took.seconds), 1e3 * light.quantile(took.seconds, 0.5)
    pings = 1e3 * light.quantile(took.pings, 0.99), 1e3 * max(took.pings)
    return Row(
        what=f"upload of a {name}",
        ours=f"{middle:.1f} ms (fastest {fastest:.1f}, longest {1e3 * max(took.seconds):.1f}), "
        f"{1e3 * light.quantile(took.work, 0.5):.0f} ms of processors of the server",
        beside="ping of another: p99 {:.1f} ms, longest {:.1f} ms".format(*pings),
        aim=AIMS[name],
    )


def one_output(size: int, serial: int) -> bytes:
    """A state of one output that takes all of its bytes."""
    outputs = {"large": {"value": "x" * size, "type": "string"}}
    return json.dumps(factories.STATE | {"serial": serial, "outputs": outputs}).encode()


def configuration(size: int) -> bytes:
    """An archive of about so many bytes packed: source that packs to a third, and binaries."""
    random_, packed = random.Random(7), io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w|") as tar,
    ):
        for number in itertools.count():
            half = random_.randbytes(8_000)
            content = half if number % 2 else half.hex().encode()
            info = tarfile.TarInfo(f"modules/m{number % 50}/f{number}.tf")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
            if packed.tell() > size:
                break
    return packed.getvalue()


def _state(
    site: Site, connection: Connection, workspace: str, sent: tuple[bytes, int]
) -> Callable[[], Awaitable[object]]:
    """Announces a state and sends it, on a connection that is open already as a client's is."""
    content, serial = sent
    given = {"serial": serial, "md5": hashlib.md5(content).hexdigest()}
    document = json.dumps({"data": {"type": "state-versions", "attributes": given}}).encode()

    async def send() -> None:
        path = f"/api/v2/workspaces/{workspace}/state-versions"
        made = json.loads((await connection.ask(site.request("POST", path, document))).body)
        where = urlsplit(made["data"]["attributes"]["hosted-state-upload-url"]).path
        answer = await connection.ask(site.request("PUT", where, content, "application/json"))
        assert answer.status == 204, answer.body

    return send


async def _configuration(
    site: Site, connection: Connection, workspace: str, archive: bytes
) -> Callable[[], Awaitable[object]]:
    document = {"type": "configuration-versions", "attributes": {"auto-queue-runs": False}}
    path = f"workspaces/{workspace}/configuration-versions"
    made = await api(site, "POST", path, document)
    where = urlsplit(made["attributes"]["upload-url"]).path
    request = site.request("PUT", where, archive, "application/octet-stream")
    return lambda: connection.ask(request)


async def _beside(
    stage: Stage, site: Site, took: Took, send: Callable[[], Awaitable[object]]
) -> None:
    connection = await site.connect()
    request = site.request("GET", "/api/v2/ping")
    await connection.ask(request)
    pinging = asyncio.create_task(_ping(connection, request, took.pings))
    work, began = memory.worked(stage), time.perf_counter()
    await send()
    took.seconds.append(time.perf_counter() - began)
    took.work.append(memory.worked(stage) - work)
    pinging.cancel()
    await connection.close()


async def _ping(connection: Connection, request: bytes, times: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await connection.ask(request)
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.005)
