"""What takes longer: uploads of states, the way of a plan to an agent, create to applied."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from tests.bench import light, scenery, table
from tests.bench.light import Connection, Site
from tests.bench.place import Joined, api
from tests.bench.table import Row
from tests.kit.terraforms import real_terraform

SIZES = {"10 KB": 10_000, "1 MB": 1_000_000, "20 MB": 20_000_000}
RESOURCES = (1, 100)
_APPLY_SECONDS = 120.0
_UPLOADS = 5  # of each size in a round: the first after other work says little


async def uploads(
    site: Site, bare: Site, workspace: str, serials: Iterator[int]
) -> dict[str, tuple[float, float]]:
    """Seconds for an upload of each size, and for the bare route; medians of some."""
    took = {}
    await api(site, "POST", f"workspaces/{workspace}/actions/lock", {})
    for name, size in SIZES.items():
        tries = []
        for _ in range(_UPLOADS):
            serial = next(serials)
            content = scenery.state(size, serial)
            began = time.perf_counter()
            await scenery.upload_state(site, workspace, content, serial)
            between = time.perf_counter()
            await bare.once(bare.request("PUT", "/upload", content))
            tries.append((between - began, time.perf_counter() - between))
        ours, other = zip(*tries, strict=True)
        took[name] = (light.quantile(ours, 0.5), light.quantile(other, 0.5))
    await api(site, "POST", f"workspaces/{workspace}/actions/unlock", {})
    return took


def upload_rows(rounds: list[dict[str, tuple[float, float]]]) -> list[Row]:
    """The medians of uploads."""
    return [
        compared(
            f"state upload {name}",
            [took[name][0] for took in rounds],
            [took[name][1] for took in rounds],
            "bare route that drops it",
        )
        for name in SIZES
    ]


def compared(what: str, ours: list[float], other: list[float], whose: str, *, aim: str = "") -> Row:
    """A row of durations beside other durations."""
    middle = light.quantile(ours, 0.5), light.quantile(other, 0.5)
    return Row(
        what=what,
        ours=table.seconds(ours),
        beside=f"{whose} {table.seconds(other)}",
        ratio=table.times(*middle),
        aim=aim,
    )


async def dispatch(
    site: Site, agent: Joined, database: Any, workspace: str, count: int
) -> list[float]:
    """Seconds from the commit of a queued plan to the agent having it, some times."""
    body = scenery.run_body(workspace, **{"plan-only": True})
    create = site.request("POST", "/api/v2/runs", body)
    asking, holding = await site.connect(), await agent.site.connect()
    committed: asyncio.Queue[float] = asyncio.Queue()

    def heard(_connection: object, _pid: int, _channel: str, topic: object) -> None:
        if topic == f"pool:{agent.pool}":
            committed.put_nowait(time.perf_counter())

    took = []
    async with database.acquire() as connection:
        await connection.add_listener("terrapod", heard)
        for number in range(count):
            key = f"d{time.time_ns()}-{number}"
            took.append(await _dispatched(agent, (asking, create), holding, (key, committed)))
        await connection.remove_listener("terrapod", heard)
    await asking.close()
    await holding.close()
    return took


async def _dispatched(
    agent: Joined,
    creating: tuple[Connection, bytes],
    holding: Connection,
    told: tuple[str, "asyncio.Queue[float]"],
) -> float:
    key, committed = told
    at = f"/api/v2/listeners/{agent.listener}"
    path = f"{at}/runs/next?wait=30&slot=0&key={key}&accept=plan"
    poll = asyncio.create_task(_timed(holding, agent.site.request("GET", path)))
    await asyncio.sleep(0.03)  # the agent waits already when the plan is queued
    while not committed.empty():
        committed.get_nowait()
    connection, create = creating
    answer = await connection.ask(create)
    assert answer.status == 201, answer.body
    ended, work = await poll
    began = await committed.get()
    assert work["kind"] == "plan"
    said = {"status": "errored", "phase_id": work["phase_id"], "fence": work["fence"]}
    path = f"{at}/runs/{work['run_id']}"
    body = json.dumps(said).encode()
    reported = await holding.ask(agent.site.request("PATCH", path, body, "application/json"))
    assert reported.status == 200, reported.body
    return ended - began


async def _timed(connection: Connection, request: bytes) -> tuple[float, Any]:
    answer = await connection.ask(request)
    ended = time.perf_counter()
    assert answer.status == 200, answer
    return ended, json.loads(answer.body)


class Terraform(Struct, frozen=True):
    """The executable that the agent gets too."""

    path: Path
    version: str


def terraform(folder: Path) -> Terraform:
    """The one on PATH, or the one that a package carries."""
    found = shutil.which("terraform")
    path = Path(found) if found else real_terraform(folder)
    told = subprocess.run([path, "version", "-json"], capture_output=True, check=True).stdout
    return Terraform(path, json.loads(told)["terraform_version"])


def configured(resources: int) -> str:
    """A configuration with so many resources."""
    return f'resource "terraform_data" "r" {{\n  count = {resources}\n  input = count.index\n}}\n'


async def applied(site: Site, pool: str, tool: Terraform, resources: int) -> float:
    """Seconds from asking for a run to it being applied, through the API and an agent."""
    name = f"apply-{time.time_ns()}"
    given = {"auto-apply": True, "terraform-version": tool.version}
    id_ = await scenery.workspace(site, name, pool, **given)
    await scenery.configuration(site, id_, configured(resources))
    connection = await site.connect()
    began = time.perf_counter()
    answer = await connection.ask(site.request("POST", "/api/v2/runs", scenery.run_body(id_)))
    run = json.loads(answer.body)["data"]["id"]
    status, show = "", site.request("GET", f"/api/v2/runs/{run}")
    while status != "applied":
        await asyncio.sleep(0.02)
        said = json.loads((await connection.ask(show)).body)["data"]["attributes"]
        status = said["status"]
        if status in ("errored", "canceled") or time.perf_counter() > began + _APPLY_SECONDS:
            raise RuntimeError(f"the run is {status}: {said}")
    await connection.close()
    return time.perf_counter() - began


async def by_hand(tool: Terraform, resources: int) -> float:
    """Seconds that the command line needs alone: init, plan into a file, apply of it."""
    commands = (["init", "-input=false"], ["plan", "-input=false", "-out=p"], ["apply", "p"])
    with tempfile.TemporaryDirectory(prefix="terrapod-bench-cli-") as folder:
        (Path(folder) / "main.tf").write_text(configured(resources))
        environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "CHECKPOINT_DISABLE": "1"}
        began = time.perf_counter()
        for command in commands:
            process = await asyncio.create_subprocess_exec(
                tool.path,
                *command,
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            assert await process.wait() == 0, command
        return time.perf_counter() - began
