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
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
    idle = memory.of(stage)
    uploads = await opened(stage, place.new_pool(stage, "parked"))
    for number in range(rounds):
        print(f"round {number + 1}", file=sys.stderr, flush=True)
        for name in AIMS:
            for _ in range(_TRIES if "20" not in name else _TRIES // 2):
                await uploads.once(name)
    await uploads.connection.close()
    rows = [_row(name, took) for name, took in uploads.found.items()]
    return [*rows, *memory.rows(idle, memory.of(stage))]


class Uploads(Struct, kw_only=True):
    """Where the uploads go, on a connection that is open already as a client's is."""

    stage: Stage
    site: Site
    connection: Connection
    workspace: str
    serials: Iterator[int]
    archive: bytes
    found: dict[str, Took]

    async def sender(self, name: str) -> Callable[[], Awaitable[object]]:
        """What sends one of these; a state is announced then, a configuration before."""
        if name not in CONTENTS:
            return await _configuration(self)
        content = CONTENTS[name](serial := next(self.serials))
        return _state(self, content, serial)

    async def reconnect(self) -> None:
        """Go on with another connection, for the server hangs up on one that nobody uses."""
        await self.connection.close()
        self.connection = await self.site.connect()

    async def once(self, name: str) -> None:
        """Upload one, and keep how long it took."""
        sending = await self.sender(name)
        await _beside(self.stage, self.site, self.found[name], sending)


async def opened(stage: Stage, pool: str) -> Uploads:
    """A workspace that takes uploads."""
    site = place.people(stage)
    workspace = await scenery.workspace(site, "uploads", pool)
    await api(site, "POST", f"workspaces/{workspace}/actions/lock", {})
    return Uploads(
        stage=stage,
        site=site,
        connection=await site.connect(),
        workspace=workspace,
        serials=itertools.count(1),
        archive=configuration(5 * _MB),
        found={name: Took() for name in AIMS},
    )


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


def _state(uploads: Uploads, content: bytes, serial: int) -> Callable[[], Awaitable[object]]:
    """Announces a state and sends it."""
    site, given = uploads.site, {"serial": serial, "md5": hashlib.md5(content).hexdigest()}
    document = json.dumps({"data": {"type": "state-versions", "attributes": given}}).encode()
    path = f"/api/v2/workspaces/{uploads.workspace}/state-versions"

    async def send() -> None:
        ask = uploads.connection.ask
        made = json.loads((await ask(site.request("POST", path, document))).body)
        where = urlsplit(made["data"]["attributes"]["hosted-state-upload-url"]).path
        answer = await ask(site.request("PUT", where, content, "application/json"))
        assert answer.status == 204, answer.body

    return send


async def _configuration(uploads: Uploads) -> Callable[[], Awaitable[object]]:
    document = {"type": "configuration-versions", "attributes": {"auto-queue-runs": False}}
    path = f"workspaces/{uploads.workspace}/configuration-versions"
    made = await api(uploads.site, "POST", path, document)
    where = urlsplit(made["attributes"]["upload-url"]).path
    request = uploads.site.request("PUT", where, uploads.archive, "application/octet-stream")

    async def send() -> None:
        answer = await uploads.connection.ask(request)
        assert answer.status == 200, answer.body

    return send


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
