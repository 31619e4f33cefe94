"""The benchmarks: a real server on loopback, measured over some rounds, printed as a table.

``python tests/bench/run.py [--rounds 3] [--quick]``, or ``... backup`` for backup and restore,
``... large`` for runs with many resources, ``... fleet`` for many agents, ``... isolated`` for
sandboxes, ``... uploads`` for states and configurations, ``... core`` for the core of the API,
which may be compared with that of another checkout.
"""

import argparse
import itertools
import os
import signal
import statistics
import sys
import time
from asyncio import Runner
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import uvloop
from msgspec import Struct

from terrapod_control_plane.cli.demo_stage import Stage
from tests.bench import (
    asking,
    backups,
    core,
    crowd,
    crowded,
    doing,
    fleet,
    isolated,
    large,
    light,
    memory,
    place,
    scenery,
    table,
    uploading,
)
from tests.bench.table import Row

ROUNDS = 3
# Measured by themselves, each with options of its own.
OTHERS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "backup": backups.main,
    "core": core.main,
    "fleet": lambda _: fleet.main(),
    "isolated": lambda _: isolated.main(),
    "large": large.main,
    "uploads": uploading.main,
}
_FULL = 200  # requests on one connection


class Extent(Struct, frozen=True):
    """How much is measured."""

    rounds: int
    requests: int  # on one connection; on several of them four times as many
    dispatches: int


class Results(Struct):
    """The figures of all rounds."""

    asked: asking.Found = {}
    uploads: list[dict[str, tuple[float, float]]] = []
    dispatch: list[list[float]] = []
    applied: dict[int, tuple[list[float], list[float]]] = {}


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    if arguments and arguments[0] in OTHERS:
        OTHERS[arguments[0]](arguments[1:])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="fewer requests, for a first look")
    options = parser.parse_args(arguments)
    extent = Extent(options.rounds, *((40, 8) if options.quick else (_FULL, 40)))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to clean up then too
    began = time.monotonic()
    rows = starts(extent.rounds)
    stage = place.new_stage()
    try:
        place.start(stage)
        with Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows += runner.run(served(stage, extent))
    finally:
        stage.end()
    print(table.markdown(rows))
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    print(
        f"\n{extent.rounds} rounds in {time.monotonic() - began:.0f} s on {os.cpu_count()} cores;"
    )
    print(f"load averages at the end: {load}.")


def starts(rounds: int) -> list[Row]:
    """How long `terrapod serve` takes until it is ready, with and without a database to make."""
    first, second = [], []
    for number in range(rounds):
        stage = place.new_stage()
        try:
            first.append(place.start(stage))
            place.stop(stage)
            second.append(place.start(stage))
        finally:
            stage.end()
        say(f"start {number + 1}: {first[-1]:.2f} s, then {second[-1]:.2f} s")
    return [
        Row(what="`terrapod serve` to ready, first start", ours=table.seconds(first)),
        Row(what="… second start", ours=table.seconds(second), aim="2 s"),
    ]


async def served(stage: Stage, extent: Extent) -> list[Row]:
    """All that a running server is measured by."""
    idle = memory.of(stage)
    site = place.people(stage)
    database = await place.database(stage, max(asking.CONNECTIONS))
    pools = {name: place.new_pool(stage, name) for name in ("parked", "empty", "quick", "real")}
    scene = await scenery.build(site, database, pools["parked"])
    # Not the one that is asked for: its state stays small, as the bare route's bytes do.
    uploaded = await scenery.workspace(site, "uploaded", pools["parked"])
    empty = await place.join(stage, "empty")
    asked = await asking.cases(site, empty, database, scene)
    bare = place.neighbour(stage.folder / "bare", await asking.bodies(asked))
    try:
        results = Results()
        uploading = itertools.count(1)
        for number in range(extent.rounds):
            say(f"round {number + 1}: requests")
            await asking.measure(asked, bare.site, extent.requests, results.asked)
            say(f"round {number + 1}: uploads")
            took = await doing.uploads(site, bare.site, uploaded, uploading)
            results.uploads.append(took)
    finally:
        bare.end()
    await dispatched(stage, database, pools["quick"], extent, results)
    await applied(stage, pools["real"], extent, results)
    say("others beside a large state")
    beside = await crowded.rows(site, pools["parked"])
    await database.close()  # else its connections would count as the server's
    after = memory.of(stage)
    rows = asking.rows(asked, results.asked)
    rows += [*_told(results), *beside, *memory.rows(idle, after)]
    say("cut readers and slow strangers")
    many = (1000, 300) if extent.requests < _FULL else (crowd.READERS, crowd.STRANGERS)
    return [*rows, *await crowd.measure(stage, *many)]


async def dispatched(
    stage: Stage, database: object, pool: str, extent: Extent, results: Results
) -> None:
    """Plans that an agent waits for."""
    site = place.people(stage)
    quick = await place.join(stage, "quick")
    workspace = await scenery.workspace(site, "quick", pool)
    await scenery.configuration(site, workspace, "# empty")
    for number in range(extent.rounds):
        say(f"round {number + 1}: dispatch")
        took = await doing.dispatch(site, quick, database, workspace, extent.dispatches)
        results.dispatch.append(took)


async def applied(stage: Stage, pool: str, extent: Extent, results: Results) -> None:
    """Runs that a real agent carries out, beside the bare command line."""
    site = place.people(stage)
    tool = doing.terraform(stage.folder / "bin")
    stage.terrapod("cache", "import", str(tool.path))
    place.start_agent(stage, "real")
    await doing.applied(site, pool, tool, 1)  # the agent fetches terraform
    for number, resources in itertools.product(range(extent.rounds), doing.RESOURCES):
        say(f"round {number + 1}: apply of {resources}")
        ours, other = results.applied.setdefault(resources, ([], []))
        ours.append(await doing.applied(site, pool, tool, resources))
        other.append(await doing.by_hand(tool, resources))


def _told(results: Results) -> list[Row]:
    times = [took for taken in results.dispatch for took in taken]
    middle = statistics.median(light.quantile(taken, 0.5) for taken in results.dispatch)
    dispatch = Row(
        what=f"commit of a queued plan to the agent having it ({len(times)} plans)",
        ours=f"p50 {1e3 * middle:.1f} ms, p99 {1e3 * light.quantile(times, 0.99):.1f} ms",
        aim="p99 100 ms",
    )
    applies = [
        doing.compared(
            f"create → applied, {resources} terraform_data",
            *took,
            "terraform init, plan, apply alone",
            aim="1.5 s" if resources == 1 else "",
        )
        for resources, took in results.applied.items()
    ]
    return [*doing.upload_rows(results.uploads), dispatch, *applies]


def say(line: str) -> None:
    """Tell what goes on, beside the table."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(sys.argv[1:])
