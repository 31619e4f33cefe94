"""Runs through server and agent beside the same commands by hand, with few and many resources.

``python tests/bench/run.py large [--rounds 3] [--resources 5000]``
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from asyncio import Runner
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop
from msgspec import Struct

from tests.bench import doing, place, scenery, table
from tests.bench.doing import Terraform
from tests.bench.light import Site
from tests.bench.table import Row

SMALL = (1, 100)
_AIM = "1.5×"  # noqa: RUF001 - the sign is meant
_SECONDS = 1800.0
_BACKEND = 'terraform {\n  backend "http" {}\n}\n'


class Step(Struct, frozen=True, kw_only=True):
    """One of the runs that a workspace goes through."""

    name: str
    text: str  # the configuration
    destroy: bool = False


def steps(resources: int) -> list[Step]:
    """Create all of them, change one, destroy all."""
    each = 'resource "terraform_data" "r" {{\n  count = {n}\n  input = {value}\n}}\n'
    same = 'format("%01000d", count.index)'
    other = f'count.index == 0 ? format("%01000d", {resources}) : {same}'
    created = each.format(n=resources, value=same)
    changed = each.format(n=resources, value=other)
    return [
        Step(name="create", text=created),
        Step(name="change of one", text=changed),
        Step(name="destroy", text=changed, destroy=True),
    ]


class Times(Struct):
    """Seconds of each step, over the rounds."""

    ours: dict[str, list[float]] = {}
    by_hand: dict[str, list[float]] = {}


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resources", type=int, nargs="*", default=[*SMALL, 5000])
    options = parser.parse_args(arguments)
    stage = place.new_stage()
    try:
        place.start(stage)
        with Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(_measured(stage, options.rounds, options.resources))
    finally:
        stage.end()
    print(table.markdown([row for count, times in found.items() for row in _rows(count, times)]))


async def _measured(stage: Any, rounds: int, counts: Sequence[int]) -> dict[int, Times]:
    site, pool = place.people(stage), place.new_pool(stage, "real")
    tool = doing.terraform(stage.folder / "bin")
    stage.terrapod("cache", "import", str(tool.path))
    place.start_agent(stage, "real")
    await doing.applied(site, pool, tool, 1)  # the agent fetches terraform
    found = {count: Times() for count in counts}
    with _state_server(stage.folder / "http") as address:
        for number in range(rounds):
            for count, times in found.items():
                print(f"round {number + 1}: {count} resources", file=sys.stderr, flush=True)
                await _ours(site, pool, tool, (number, count), times)
                folder = stage.folder / f"by-hand-{number}-{count}"
                folder.mkdir()
                await _by_hand(tool, folder, f"{address}/{number}-{count}", count, times)
    return found


async def _ours(
    site: Site, pool: str, tool: Terraform, which: tuple[int, int], times: Times
) -> None:
    number, count = which
    given = {"auto-apply": True, "terraform-version": tool.version}
    name = f"large-{number}-{count}-{time.time_ns()}"
    workspace = await scenery.workspace(site, name, pool, **given)
    for step in steps(count):
        await scenery.configuration(site, workspace, step.text)
        took = await _run(site, workspace, destroy=step.destroy)
        times.ours.setdefault(step.name, []).append(took)


async def _run(site: Site, workspace: str, *, destroy: bool) -> float:
    connection = await site.connect()
    began = time.perf_counter()
    body = scenery.run_body(workspace, **{"is-destroy": destroy})
    answer = await connection.ask(site.request("POST", "/api/v2/runs", body))
    run = json.loads(answer.body)["data"]["id"]
    show = site.request("GET", f"/api/v2/runs/{run}")
    while True:
        await asyncio.sleep(0.02)
        said = json.loads((await connection.ask(show)).body)["data"]["attributes"]
        if said["status"] == "applied":
            break
        over = time.perf_counter() > began + _SECONDS
        if over or said["status"] in ("errored", "canceled", "planned_and_finished"):
            raise RuntimeError(f"the run is {said['status']}: {said}")
    took = time.perf_counter() - began
    await connection.close()
    return took


async def _by_hand(tool: Terraform, folder: Path, address: str, count: int, times: Times) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "CHECKPOINT_DISABLE": "1",
        "TF_HTTP_ADDRESS": address,
    }
    for number, step in enumerate(steps(count)):
        # A fresh copy each time, as a job has it.
        at = folder / str(number)
        at.mkdir()
        (at / "main.tf").write_text(_BACKEND + step.text)
        plan = ["plan", "-input=false", "-out=p", *(["-destroy"] if step.destroy else [])]
        began = time.perf_counter()
        for command in (["init", "-input=false"], plan, ["show", "-json", "p"], ["apply", "p"]):
            with (at / f"{command[0]}.out").open("wb") as said:
                process = await asyncio.create_subprocess_exec(
                    tool.path, *command, cwd=at, env=environment, stdout=said, stderr=said
                )
                assert await process.wait() == 0, (at / f"{command[0]}.out").read_text()[-2000:]
        times.by_hand.setdefault(step.name, []).append(time.perf_counter() - began)


@contextmanager
def _state_server(folder: Path) -> Iterator[str]:
    folder.mkdir()
    command = [sys.executable, str(Path(__file__).with_name("http_state.py")), str(folder)]
    with subprocess.Popen(command, env={"PATH": os.environ["PATH"]}) as process:
        try:
            while not (folder / "port").exists():
                time.sleep(0.02)
            yield f"http://127.0.0.1:{(folder / 'port').read_text()}"
        finally:
            process.terminate()


def _rows(count: int, times: Times) -> list[Row]:
    whose = "init, plan, show -json, apply with backend http"
    return [
        doing.compared(
            f"{name}, {count} resources of 1 KB",
            times.ours[name],
            times.by_hand[name],
            whose,
            aim=_AIM if count > max(SMALL) else "",
        )
        for name in times.ours
    ]
