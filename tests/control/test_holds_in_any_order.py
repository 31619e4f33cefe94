"""Whatever happens to applies, in whatever order: none is handed out twice, and no hold is missing.

Only an apply whose agent said, under its fence, that terraform had ended by itself and that its
state is here needs no person. That is what this model knows; the rest it asks the server.
"""

import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs.model import FINAL
from terrapod_control_plane.runs.phases.leases import internal as leases
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.lost import hold, late
from tests.kit.recoveries import RESUME

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

DEEDS = 40
OVER = {status.value for status in FINAL}
STEPS = (1, 31, 61, 125, 7300)
HARD: tuple[dict[str, Any], ...] = ({"hard": True}, {"state_uploaded": False})


class Story:
    """Deeds of persons, agents and time on one workspace, and what must follow from them."""

    def __init__(self, control: Control, api: Client, agent: Agent, workspace: str) -> None:
        self.control, self.api, self.agent, self.workspace = control, api, agent, workspace
        self.dice = random.Random()
        self.told: list[str] = []
        self.began: dict[str, dict[str, Any]] = {}  # run -> the work of its apply
        self.clean: set[str] = set()
        self.settled: set[str] = set()  # a person ended the hold after the end of these
        self.number = 0

    @property
    def key(self) -> str:
        self.number += 1
        return f"{self.agent.id} {self.number}"

    async def happens(self) -> None:
        deeds = [getattr(self, name) for name in dir(self) if name.startswith("do_")]
        usual = [self.do_go_on, self.do_go_on, self.do_end, self.do_clear]
        deed: Callable[[], Awaitable[None]] = self.dice.choice([*deeds, *usual * 3])
        self.told.append(deed.__name__)
        await deed()
        await self.look()

    # --- persons ----------------------------------------------------------------------------------

    async def do_make(self) -> None:
        await factories.run(self.api, self.workspace, **{"auto-apply": True})

    async def do_cancel(self) -> None:
        await self._act("cancel")

    async def do_force(self) -> None:
        await self._act("force-cancel")

    async def do_discard(self) -> None:
        await self._act("discard")

    async def _act(self, action: str) -> None:
        runs = await db.rows("select id from runs where status <> all($1)", list(OVER))
        if runs:
            run = self.dice.choice(runs)["id"]
            await self.api.call("POST", f"/api/v2/runs/{run}/actions/{action}")

    async def do_clear(self) -> None:
        await self._ends_hold("clear-hold")

    async def do_adopt(self) -> None:
        await self._ends_hold("adopt-state")

    async def _ends_hold(self, how: str) -> None:
        over = await self._over()
        path = f"/api/v2/workspaces/{self.workspace}/actions/{how}"
        if (await self.api.call("POST", path)).is_success:
            self.settled |= over

    async def do_take_over(self) -> None:
        """As another who joins under the name does; sometimes the server dies in between."""
        ctx = system(self.control.services)
        await leases.let_go(ctx, self.agent.id)
        if self.dice.random() < 0.5:
            await leases.settle(ctx, self.agent.id)

    async def do_pause(self) -> None:
        await epochs.pause(self.control.services.clock.now(), "a marker says so")

    async def do_resume(self) -> None:
        query = "?new-epoch=true" if self.dice.random() < 0.3 else ""
        await self.api.call("POST", f"{RESUME}{query}")

    # --- agents -----------------------------------------------------------------------------------

    async def do_plan(self) -> None:
        if work := await self.agent.claim(self.key, "plan"):
            started = await self.agent.report(work, "planning")
            if started.is_success:
                with contextlib.suppress(AssertionError):
                    await factories.ends_plan(self.agent, work)

    async def do_go_on(self) -> None:
        """All the way to an apply, as far as nothing stands in its way."""
        await self.api.call("POST", RESUME)
        await self.do_make()
        await self.do_plan()
        await self.do_claim_apply()

    async def do_claim_apply(self) -> None:
        held = await hold(self.api, self.workspace)
        paused = await epochs.paused()
        work = await self.agent.claim(self.key, "apply")
        if work is None:
            return
        assert (held, paused) == (None, None)
        assert work["artifacts"].keys() >= {"plan"}
        assert work["run_id"] not in self.began, "an apply was handed out twice"
        if self.dice.random() < 0.8 and (await self.agent.report(work, "applying")).is_success:
            self.began[work["run_id"]] = work

    async def do_end(self) -> None:
        for run, work in self.began.items():
            if run not in await self._over():
                said = self.dice.choice([{}, {}, *HARD])
                status = self.dice.choice(["applied", "errored", "canceled"])
                if self.dice.random() < 0.5:
                    await self.agent.send(work, "state", factories.state(self.number), "final=true")
                limit = await db.value(
                    "select order_kind is not null and canceled_at is null from phases p "
                    "join runs r on r.id = p.run_id where p.id = $1",
                    work["phase_id"],
                )
                answer = await self.agent.report(work, status, **said)
                if answer.is_success and not said and (status == "applied" or not limit):
                    self.clean.add(run)

    async def do_late(self) -> None:
        for work in self.began.values():
            if self.dice.random() < 0.5:
                await self.agent.send(work, "recovered-state", factories.state(self.number + 50))
            await late(self.agent, work, hard=self.dice.random() < 0.5)

    async def do_drop(self) -> None:
        named = [
            {"phase_id": work["phase_id"], "fence": work["fence"]} for work in self.began.values()
        ]
        await self.agent.call(
            "POST", f"{self.agent.at}/heartbeat", json={"dropped": named, "kept": []}
        )

    async def do_beat(self) -> None:
        await self.agent.beat(*self.began.values())

    # --- time -------------------------------------------------------------------------------------

    async def do_wait(self) -> None:
        self.control.clock.move(self.dice.choice(STEPS))
        await self.control.sweep()

    # --- what must be -----------------------------------------------------------------------------

    async def _over(self) -> set[str]:
        found = await db.rows("select id from runs where status = any($1)", list(OVER))
        return {row["id"] for row in found}

    async def look(self) -> None:
        over = await self._over()
        doubtful = (self.began.keys() & over) - self.clean - self.settled
        if doubtful:
            assert await hold(self.api, self.workspace) is not None, f"no hold: {doubtful}"
        at_it = "select count(*) from runs where status in ('apply_queued', 'applying')"
        assert await db.value(at_it) <= 1
        held = "select count(*) from phases where lease_until is not null and kind = 'apply'"
        assert await db.value(held) <= 1

    async def ends(self) -> None:
        """With nobody at work everything comes to an end, or says what it waits for."""
        await self.api.call("POST", RESUME)
        for _ in range(3):
            self.control.clock.move(2 * 86400)
            await self.control.sweep()
            await self.look()
        for run in (await self.api.get(f"/api/v2/workspaces/{self.workspace}/runs"))["data"]:
            shown = run["attributes"]
            assert shown["status"] not in ("planning", "applying")
            assert (shown["waiting-on"] is None) == (shown["status"] in OVER)


@pytest.mark.parametrize("seed", range(20))
async def test_no_apply_goes_twice_and_no_hold_is_missing(
    control: Control, api: Client, listener: Agent, workspace: str, seed: int
) -> None:
    story = Story(control, api, listener, workspace)
    story.dice.seed(seed)
    await db.execute("update certificates set not_after = not_after + interval '100 days'")
    try:
        for _ in range(DEEDS):
            await story.happens()
        await story.ends()
    except AssertionError:
        print(seed, story.told)
        raise
