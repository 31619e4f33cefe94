"""The core of the API in one table: requests per second, statements, uploads, memory.

``python tests/bench/run.py core [--rounds 3] [--requests 200] [--quick] [--profile]``, and with
``--against DIR`` the same for the server of another checkout, in turns with this one's.
"""

import argparse
import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from msgspec import Struct

from tests.bench import asking, core_table, place, profiles, sides, uploading
from tests.bench.core_table import BARE
from tests.bench.light import Load, Site, load
from tests.bench.place import Place
from tests.bench.sides import Side

_ROUNDS, _REQUESTS, _UPLOADS = 3, 200, 5
_PROFILED = 20  # times as many requests as on one connection


class Extent(Struct, frozen=True):
    """How much is measured."""

    rounds: int
    requests: int  # on one connection; on several of them four times as many
    uploads: int  # of each kind in a round


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    options = _options(arguments)
    extent = Extent(options.rounds, options.requests, _UPLOADS)
    if options.quick:
        extent = Extent(1, min(40, options.requests), 2)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to clean up then too
    began = time.monotonic()
    stages = {"now": place.new_stage()}
    if options.against:
        command = Path(options.against).absolute() / ".venv" / "bin" / "terrapod"
        stages = {"before": place.new_stage(str(options.terrapod or command)), **stages}
    profile: list[str] = []
    try:
        for stage in stages.values():
            place.start(stage)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found, bare = runner.run(_measured(stages, extent))
            if options.profile:
                often = extent.requests * _PROFILED
                profile = [runner.run(profiles.markdown(side, often)) for side in found]
    finally:
        for stage in stages.values():
            stage.end()
    print(core_table.markdown(found, bare))
    said = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    print(
        f"\n{extent.rounds} rounds in {time.monotonic() - began:.0f} s on {os.cpu_count()} cores;"
    )
    print(f"load averages at the end: {said}.")
    for side, rows in zip(found, profile, strict=False):
        print(f"\nWhere the server's main thread spends its time, {side.name}:\n\n{rows}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--requests", type=int, default=_REQUESTS, help="on one connection")
    parser.add_argument("--quick", action="store_true", help="one short round, for a first look")
    parser.add_argument("--against", metavar="DIR", help="another checkout, with its .venv")
    parser.add_argument("--terrapod", metavar="PATH", help="its terrapod, if not in its .venv")
    parser.add_argument("--profile", action="store_true", help="tell where the time goes, too")
    return parser.parse_args(arguments)


async def _measured(
    stages: dict[str, Place], extent: Extent
) -> tuple[list[Side], dict[int, list[Load]]]:
    found = [await sides.build(name, stage) for name, stage in stages.items()]
    bare: dict[int, list[Load]] = {}
    case = next(case for case in found[0].cases if case.name == BARE)
    folder = found[0].stage.folder / "bare"
    neighbour = place.neighbour(folder, await asking.bodies([case]))
    try:
        for side in found:
            _say(f"{side.name}: statements")
            await side.count_statements()
        for number in range(extent.rounds):
            _say(f"round {number + 1}")
            # Who comes first alternates, for the second one finds a warmer or a hotter machine.
            await _round(found[:: -1 if number % 2 else 1], extent)
            await _bare(neighbour.site, f"/get/{case.key}", extent, bare)
    finally:
        await asyncio.to_thread(neighbour.end)  # while the loop hangs up
    for side in found:
        await side.uploads.connection.close()
        await side.database.close()  # else its connections would count as the server's
        await asyncio.to_thread(place.stop, side.stage)
    for side in found:
        _say(f"{side.name}: memory")
        await sides.remember(side, 4 * extent.requests)
    return found, bare


async def _round(turns: list[Side], extent: Extent) -> None:
    """Each case on each number of connections by one server after the other, then the uploads."""
    cases = zip(*(side.cases for side in turns), strict=True)
    for same, connections in itertools.product(cases, asking.CONNECTIONS):
        often = extent.requests * (1 if connections == 1 else 4)
        for side, case in zip(turns, same, strict=True):
            await side.load(case, connections, often)
    for name in uploading.AIMS:
        for side in turns:
            await side.uploads.reconnect()
        for _, side in itertools.product(range(extent.uploads), turns):
            await side.uploads.once(name)


async def _bare(site: Site, path: str, extent: Extent, into: dict[int, list[Load]]) -> None:
    for connections in asking.CONNECTIONS:
        often = extent.requests * (1 if connections == 1 else 4)
        request = [site.request("GET", path)]
        found = await load(site, request, connections=connections, count=often)
        into.setdefault(connections, []).append(found)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
