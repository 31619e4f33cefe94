"""Workspace, run, phase: everything at once on the same few rows, and nobody waits in a circle."""

import random
import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs.work import service as work
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

    def __init__(self, control: Control, api: Client, workspaces: list[str]) -> None:
        self.control = control
        self.api = api
        self.workspaces = workspaces
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

    async def sweeps(self) -> None:
        await work.extend_all(system(self.control.parts))
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
    storm, before = Storm(control, api, [workspace, other]), await deadlocks()
    async with anyio.create_task_group() as tasks:
        for name in ("makes", "cancels", "cancels", "sweeps"):
            tasks.start_soon(storm.again, name, getattr(storm, name))
        for agent in (listener, foreign):
            for number in range(3):

                async def works(agent: Agent = agent, number: int = number) -> None:
                    await agent_works(storm, agent, number)

                tasks.start_soon(storm.again, agent.id, works)
    assert await deadlocks() == before, storm.done
    assert len(storm.done) == 5, storm.done
