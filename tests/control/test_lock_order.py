"""Workspace, run, phase: everything at once on the same few rows, and nobody waits in a circle."""

import random
import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs.phases.leases import internal as leases
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

SECONDS = 6.0
# Refusals are part of it: whoever comes second is told so.
FINE = {200, 201, 202, 204, 404, 409, 422}


async def deadlocks() -> int:
    await db.execute("select pg_stat_force_next_flush()")
    found: int = await db.value(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    return found


class Storm:
    """What happens again and again until time is up."""

    def __init__(
        self, control: Control, api: Client, workspaces: list[str], pools: list[str]
    ) -> None:
        self.control = control
        self.api = api
        self.workspaces = workspaces
        self.pools = pools
        self.done: dict[str, int] = {}
        self._random = random.Random(7)
        self._ends = time.monotonic() + SECONDS

    async def again(self, name: str, deed: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < self._ends:
            await deed()
            self.done[name] = self.done.get(name, 0) + 1
            await anyio.lowlevel.checkpoint()

    async def call(self, method: str, path: str) -> None:
        answer = await self.api.http.request(method, path)
        assert answer.status_code in FINE, answer.text

    async def any_open(self) -> str | None:
        found = await db.rows("select id from runs where status = any($1)", OPEN)
        return self._random.choice(found)["id"] if found else None

    async def makes(self) -> None:
        speculative = self._random.random() < 0.7
        given = {"plan-only": True} if speculative else {"auto-apply": True}
        await factories.run(self.api, self._random.choice(self.workspaces), **given)

    async def cancels(self) -> None:
        if run := await self.any_open():
            await self.call("POST", f"/api/v2/runs/{run}/actions/cancel")

    async def moves(self) -> None:
        given = {"agent-pool-id": self._random.choice(self.pools)}
        data = {"type": "workspaces", "attributes": given}
        path = f"/api/v2/workspaces/{self._random.choice(self.workspaces)}"
        answer = await self.api.http.patch(path, json={"data": data})
        assert answer.status_code in FINE, answer.text

    async def sweeps(self) -> None:
        await leases.extend_all(system(self.control.services))
        await self.control.sweep()


OPEN = ["pending", "plan_queued", "planning", "apply_queued", "applying"]


async def agent_works(storm: Storm, agent: Agent, number: int) -> None:
    """Claims, beats, logs and ends, as an agent with several slots does."""
    held = await agent.claim(f"{agent.id} {number} {storm.done.get(agent.id, 0)}")
    if held is None:
        return
    await agent.beat(held)
    status = "planning" if held["kind"] == "plan" else "applying"
    started = await agent.report(held, status)
    await agent.send(held, "log", b"a line\n", "offset=0")
    await agent.beat(held)
    if started.is_success:
        await agent.report(held, "errored")


async def test_claims_and_cancels_never_wait_for_each_other_in_a_circle(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    other = await factories.workspace(api, "other")
    await factories.configuration(api, other)
    pools = [listener.pool, await factories.pool(api, "second")]
    agents = [listener, foreign, await control.join(api, pools[1], "third")]
    storm, before = Storm(control, api, [workspace, other], pools), await deadlocks()
    async with anyio.create_task_group() as tasks:
        for name in ("makes", "cancels", "cancels", "moves", "sweeps"):
            tasks.start_soon(storm.again, name, getattr(storm, name))
        for agent in agents:
            for number in range(3):

                async def works(agent: Agent = agent, number: int = number) -> None:
                    await agent_works(storm, agent, number)

                tasks.start_soon(storm.again, agent.id, works)
    assert await deadlocks() == before, storm.done
    assert len(storm.done) == 7, storm.done


async def test_a_workspace_moves_to_another_pool_while_agents_renew_what_they_have(
    api: Client, listener: Agent, workspace: str, dsn: str
) -> None:
    """A beat locks phases in the order of their ids, a move went by their runs: a circle."""
    held = []
    for number in range(2):
        await factories.run(api, workspace, **{"plan-only": True})
        held.append((await factories.starts_plan(listener, f"k{number}"))["phase_id"])
    waiting = await factories.run(api, workspace, **{"plan-only": True})
    other = await factories.pool(api, "other")
    beat = await asyncpg.connect(dsn)
    async with beat.transaction():
        await beat.execute("select from phases where id = any($1) for no key update", held)
        with anyio.fail_after(5):
            data = {"type": "workspaces", "attributes": {"agent-pool-id": other}}
            path = f"/api/v2/workspaces/{workspace}"
            assert (await api.call("PATCH", path, json={"data": data})).is_success
    await beat.close()
    moved = await db.rows("select run_id from phases where pool_id = $1", other)
    assert [row["run_id"] for row in moved] == [waiting]
    runs = await db.rows("select distinct pool_id from runs")
    assert [row["pool_id"] for row in runs] == [other]
