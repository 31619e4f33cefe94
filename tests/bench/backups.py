"""Backup and restore of a large installation: how long, how much memory, what others notice.

``python tests/bench/run.py backup [--workspaces 10000] [--megabytes 1000]``
"""

import argparse
import asyncio
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
from msgspec import Struct

from terrapod_control_plane.cli.demo_stage import Stage, program
from terrapod_control_plane.kernel.blobs.local import LocalBlobs
from terrapod_control_plane.kernel.blobs.sealed import SealedBlobs
from terrapod_control_plane.kernel.crypto.keys import KeyRing
from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.bench import light, place, table
from tests.bench.table import Row

# Of each workspace: a state, a configuration, the logs of plan and apply.
_KINDS = {"state/{ws}/sv-{n}": 0.5, "configuration/{ws}/cv-{n}": 0.3, "log/{ws}/apply-{n}": 0.2}
_FILL = {
    "workspaces": """
insert into workspaces select (jsonb_populate_record(w, jsonb_build_object(
    'id', 'ws-' || lpad(g::text, 16, '0'), 'name', 'many-' || g))).*
from workspaces w, generate_series(1, $1::int) g where w.name = 'seed'""",
    "audit_entries": """
insert into audit_entries
    (at, actor_kind, actor_id, actor_name, request_id, action, subject, detail)
select now(), 'user', 'user-1', 'somebody', 're-' || g, 'run.changed', 'run-' || g,
    jsonb_build_object('run', 'run-' || g, 'status', 'applied')
from generate_series(1, $1::int * 20) g""",
}


class Took(Struct, frozen=True):
    """What a command needed."""

    seconds: float
    megabytes: float  # at most, of resident memory
    said: str


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="backup")
    parser.add_argument("--workspaces", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=1000)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to clean up then too
    rows: list[Row] = []
    for part in (10, 1):  # a tenth first: what grows shows between the two
        rows += measured(options.workspaces // part, options.megabytes // part)
    print(table.markdown(rows))
    print(f"\n{os.cpu_count()} cores; load averages {os.getloadavg()[0]:.1f}.")


def measured(workspaces: int, megabytes: int) -> list[Row]:
    """One size."""
    stage = place.new_stage()
    target = stage.folder / "restored"
    try:
        place.start(stage)
        asyncio.run(fill(stage, workspaces, megabytes))
        archive = stage.folder / "archive"
        secret = stage.folder / "passphrase"
        secret.write_text("correct horse battery\n")
        seal = ["--passphrase-file", str(secret)]
        asked, backup = asyncio.run(beside(stage, [*command("backup", archive), *seal]))
        verify = took(stage, [*command("backup", "verify", archive), *seal])
        place.stop(stage)
        copied = plain_copy(stage)
        restore = took(stage, [*command("restore", archive), *seal], TERRAPOD_DATA_DIR=str(target))
        size = archive.stat().st_size / 1e6
    finally:
        stage.end()
        Embedded(target / "postgres").erase()
    of = f"{workspaces:,} workspaces, {size:,.0f} MB"
    return [
        row(f"backup, {of}", backup, f"tar of the blobs alone {copied:.1f} s"),
        row(f"verify, {of}", verify),
        row(f"restore, {of}", restore),
        Row(what=f"a workspace shown meanwhile, {of}", ours=table.told(asked)),
    ]


def row(what: str, found: Took, other: str = "") -> Row:
    """A command as a line of the table."""
    return Row(what=what, ours=f"{found.seconds:.1f} s, {found.megabytes:.0f} MB", beside=other)


def command(*arguments: str | Path) -> list[str]:
    """A command of ours."""
    return [program("terrapod"), *map(str, arguments)]


def took(stage: Stage, arguments: list[str], **environment: str) -> Took:
    """Run it to its end."""
    began = time.monotonic()
    settings = {"TERRAPOD_DATA_DIR": str(stage.data), "PATH": os.environ["PATH"]} | environment
    process = subprocess.Popen(
        arguments, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(said)
    return Took(time.monotonic() - began, _peak(usage), said)


def _peak(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / 1024


async def beside(stage: Stage, arguments: list[str]) -> tuple[light.Load, Took]:
    """A command, and how fast the server answers one who asks all the while."""
    site = place.people(stage)
    asking = site.request("GET", "/api/v2/organizations/default/workspaces/seed")
    running = asyncio.create_task(asyncio.to_thread(took, stage, arguments))
    times: list[float] = []
    connection = await site.connect()
    while not running.done():
        began = time.perf_counter()
        await connection.ask(asking)
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    await connection.close()
    p50, p99 = (1e3 * light.quantile(times, q) for q in (0.5, 0.99))
    return light.Load(1 / (sum(times) / len(times)), p50, p99), await running


def plain_copy(stage: Stage) -> float:
    """What tar takes for the blobs."""
    began = time.monotonic()
    archive = stage.folder / "plain.tar"
    subprocess.run(["tar", "-cf", archive, "-C", stage.data, "blobs"], check=True)
    taken = time.monotonic() - began
    archive.unlink()
    return taken


# --- the scene ------------------------------------------------------------------------------------


async def fill(stage: Stage, workspaces: int, megabytes: int) -> None:
    """So many workspaces with so much in the blob store."""
    site = place.people(stage)
    given = {"type": "workspaces", "attributes": {"name": "seed", "execution-mode": "local"}}
    await place.api(site, "POST", "organizations/default/workspaces", given)
    pool: asyncpg.Pool[asyncpg.Record] = await place.database(stage, 1)
    for sql in _FILL.values():
        await pool.execute(sql, workspaces)
    await pool.close()
    ring = KeyRing.parse((stage.data / "keys").read_text())
    store = SealedBlobs(LocalBlobs(stage.data / "blobs", durable=False), ring)
    size = megabytes * 1_000_000 // max(workspaces, 1)
    content = random.Random(1).randbytes(size)
    for number in range(1, workspaces + 1):
        for key, share in _KINDS.items():
            name = key.format(ws=f"ws-{number:016d}", n=number)
            await store.put(name, _pieces(content[: int(size * share)]))
    # What is still to be written would count for the backup.
    await asyncio.to_thread(os.sync)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content
