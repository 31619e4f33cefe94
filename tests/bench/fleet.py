"""Many agents that wait for work: what they cost the server, and how long many take to join."""

import asyncio
import json
import os
import random
import resource
import secrets
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from msgspec import Struct

from terrapod_agent.identity import certificate_request, new_key
from terrapod_control_plane.cli.demo_stage import Stage
from terrapod_control_plane.kernel.postgres.home import recorded_folder
from tests.bench import memory, place, table
from tests.bench.light import Connection, Site, quantile
from tests.bench.table import Row

AGENTS, JOINS = 1000, 200
_POLL, _BEAT = 25.0, 30.0  # as a real agent with the settings that it has by default
_SETTLES, _MEASURED = 40.0, 60.0
_AT_ONCE = 20  # of the joins that are not measured


class Idle(Struct):
    """An agent that is played here: it asks for work and beats, each on a connection."""

    site: Site
    listener: str

    async def live(self, dice: random.Random) -> None:
        """Do so until the end."""
        await asyncio.sleep(dice.uniform(0, _POLL))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poll(await self.site.connect()))
            tasks.create_task(self._beat(await self.site.connect()))

    async def _poll(self, connection: Connection) -> None:
        at = f"/api/v2/listeners/{self.listener}/runs/next?wait={_POLL}&slot=0&accept=plan,apply"
        while True:
            asked = self.site.request("GET", f"{at}&seen=0&key={secrets.token_hex(16)}")
            _good(await connection.ask(asked))

    async def _beat(self, connection: Connection) -> None:
        at = f"/api/v2/listeners/{self.listener}/heartbeat"
        body = b'{"version":"1","slots":1,"holding":[],"platform":"linux_amd64"}'
        asked = self.site.request("POST", at, body, "application/json")
        while True:
            _good(await connection.ask(asked))
            await asyncio.sleep(_BEAT)


async def measured(stage: Stage) -> list[Row]:
    """Join, wait, measure."""
    _many_files()
    idle_before = memory.of(stage)
    pool = place.new_pool(stage, "fleet")
    names = [f"agent-{number}" for number in range(AGENTS)]
    began = time.monotonic()
    first, times = await _joined(stage, pool, names[:JOINS], JOINS)
    took = time.monotonic() - began
    rest, _ = await _joined(stage, pool, names[JOINS:], _AT_ONCE)
    dice = random.Random(1)
    lives = [asyncio.create_task(agent.live(dice)) for agent in (*first, *rest)]
    try:
        await asyncio.sleep(_SETTLES)
        server, database = await _share(stage, _MEASURED)
        for life in lives:
            if life.done():
                life.result()  # which says what went wrong
        after = memory.of(stage)
    finally:
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
    return [
        Row(
            what=f"{JOINS} agents join at once, all succeed",
            ours=f"{took:.1f} s; one of them: p50 {quantile(times, 0.5):.1f} s",
        ),
        Row(
            what=f"{AGENTS:,} idle agents: CPU of the server, share of a core",
            ours=f"{100 * server:.1f} %",
            beside=f"PostgreSQL {100 * database:.1f} %",
            aim="15 %",
        ),
        Row(
            what=f"{AGENTS:,} idle agents: PSS of the server",
            ours=f"{after.server:.0f} MB",
            beside=f"PostgreSQL {after.postgres:.0f} MB; "
            f"without agents {idle_before.server:.0f} MB",
            aim="250 MB",
        ),
    ]


async def _joined(
    stage: Stage, pool: str, names: Sequence[str], at_once: int
) -> tuple[list[Idle], list[float]]:
    """Identities for these names with one token, which has exactly as many uses."""
    public = place.people(stage)
    given = {"description": "fleet", "max-uses": len(names)}
    made = await place.api(
        public,
        "POST",
        f"agent-pools/{pool}/authentication-tokens",
        {"type": "authentication-tokens", "attributes": given},
    )
    token, turn, times = made["attributes"]["token"], asyncio.Semaphore(at_once), []
    keys = [new_key() for _ in names]
    requests = [certificate_request(key, name) for key, name in zip(keys, names, strict=True)]

    async def one(name: str, key: str, csr: str) -> Idle:
        body = json.dumps({"join_token": token, "name": name, "csr": csr}).encode()
        asked = public.request("POST", "/api/v2/agent-pools/join", body, "application/json")
        async with turn:
            began = time.monotonic()
            answer = json.loads((await public.once(asked)).body)
            times.append(time.monotonic() - began)
        chain = stage.folder / f"{name}.pem"
        return Idle(_trusting(answer, key, chain), answer["listener_id"])

    found = await asyncio.gather(*map(one, names, keys, requests))
    return list(found), times


def _trusting(answer: dict[str, str], key: str, chain: Path) -> Site:
    context = ssl.create_default_context(cadata=answer["ca_certificate"])
    chain.write_text(f"{key}\n{answer['certificate']}")
    context.load_cert_chain(chain)
    return Site(answer["agent_url"], context)


async def _share(stage: Stage, seconds: float) -> tuple[float, float]:
    """How much of a core the server and its PostgreSQL use meanwhile."""
    folder = recorded_folder(stage.data / "postgres")
    assert folder is not None
    postmaster = int((folder / "cluster" / "postmaster.pid").read_text().split()[0])
    server = psutil.Process(stage.running["server"].pid)
    before, databases = _used(server), _of_all(postmaster)
    began = time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    return (_used(server) - before) / took, (_of_all(postmaster) - databases) / took


def _of_all(postmaster: int) -> float:
    parent = psutil.Process(postmaster)
    return sum(map(_used, [parent, *parent.children()]))


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    used: float = times.user + times.system
    return used


def _good(answer: object) -> None:
    status = getattr(answer, "status", 0)
    if status not in (200, 204):
        raise RuntimeError(f"an idle agent was answered with {status}")


def _many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Measure and print."""
    _many_files()
    stage = place.new_stage()
    try:
        place.start(stage)
        print(table.markdown(asyncio.run(measured(stage))))
    finally:
        stage.end()
    print(f"\nload averages at the end: {', '.join(f'{part:.1f}' for part in os.getloadavg())}.")
