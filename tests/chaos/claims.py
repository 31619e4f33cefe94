"""Agents, people and time, simulated: they act on the real service at once, in any order.

Each agent loses answers, repeats and reorders requests, stands still past its leases, dies, and
goes on with what is no longer its own. A ledger outside of the service holds what it was told.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import msgspec
from msgspec import Struct

from terrapod_common import wire
from terrapod_control_plane.agent_api import model as agent_api_model
from terrapod_control_plane.agent_api import service as agent_api_service
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context, system
from terrapod_control_plane.kernel.errors import Conflict, Forbidden, NotFound, Unauthorized
from terrapod_control_plane.kernel.policy import Actor
from terrapod_control_plane.runs import service as runs_service
from terrapod_control_plane.runs.holds import service as holds_service
from terrapod_control_plane.runs.model import NewRun
from tests.chaos.ledger import Ledger
from tests.kit import factories
from tests.kit.control import Control

AGENTS, WORKSPACES = 6, 12
_REFUSED = (Conflict, NotFound, Unauthorized, Forbidden)
_OPEN_AT_MOST = 60
_PLAN = {"plan": {"digest": "0" * 64, "size": 1, "key": "simulated"}}


class Doing(Struct):
    """A phase that an agent believes to be its own."""

    work: wire.Work
    started: bool = False


class Player:
    """One agent with some slots, and all that can go wrong with it."""

    def __init__(self, simulation: "Simulation", actor: Actor) -> None:
        self.actor = actor
        self._simulation = simulation
        self._dice = random.Random(simulation.dice.random())
        self._ledger = simulation.ledger
        self._doing: list[Doing] = []
        self._past: list[wire.Work] = []  # what it may come back with
        self._key = self._new_key()

    async def turn(self, *, healthy: bool = False) -> None:
        """Do one thing."""
        if healthy and self._doing:
            return await self._work()
        deeds: list[tuple[int, Callable[[], Awaitable[None]]]] = [(8, self._claim)]
        if not healthy:
            deeds += [(8, self._work), (4, self._beat), (1, self._die), (2, self._come_back)]
        (deed,) = self._dice.choices([d for _, d in deeds], [weight for weight, _ in deeds])
        await deed()
        return None

    async def _claim(self) -> None:
        if len(self._doing) >= 2:
            return
        key, slot = self._key, self._dice.randrange(2)
        ask = agent_api_model.Slot(
            number=slot, key=key, accept=self._dice.choice(["", "", "plan", "apply"])
        )
        found: list[wire.Work] = []

        async def once() -> None:
            answer = await self._call(agent_api_service.next_work, ask, 0.0)
            if answer is not None and answer.work is not None:
                found.append(answer.work)

        async with anyio.create_task_group() as tasks:
            for _ in range(self._dice.choice([1, 1, 1, 1, 2])):  # asked twice at once
                tasks.start_soon(once)
        for work in found:
            self._ledger.claimed(work, self.actor.id, key)
        if found and self._dice.random() < 0.9:  # else the answer was lost, and is asked again
            self._key = self._new_key()
            if found[0].phase_id not in [doing.work.phase_id for doing in self._doing]:
                self._doing.append(Doing(found[0]))

    async def _work(self) -> None:
        if not self._doing:
            return
        doing = self._dice.choice(self._doing)
        self._past = [*self._past[-20:], doing.work]
        if not doing.started:
            doing.started = await self._report(doing.work, _START[doing.work.kind])
            if not doing.started:
                self._doing.remove(doing)
            return
        if doing.work.kind == "plan":
            await self._simulation.leave_plan(doing.work)
        end = self._dice.choices([_END[doing.work.kind], "errored", "canceled"], [12, 1, 1])[0]
        self._doing.remove(doing)
        await self._report(doing.work, end)

    async def _report(self, work: wire.Work, status: wire.ReportStatus) -> bool:
        """Say it once or several times; true when it was taken."""
        said = wire.Report(
            status=status, phase_id=work.phase_id, fence=work.fence, has_changes=True
        )
        taken: list[bool] = []

        async def once() -> None:
            stale = self._ledger.is_stale(work)
            answer = await self._call(agent_api_service.report, work.run_id, said)
            if answer is not None:
                self._ledger.reported(work, status, stale=stale)
                taken.append(True)

        async with anyio.create_task_group() as tasks:
            for _ in range(self._dice.choice([1, 1, 1, 1, 1, 2, 3])):
                tasks.start_soon(once)
        return bool(taken)

    async def _come_back(self) -> None:
        """With something that it had before; nothing of it may count but a repetition."""
        if self._past:
            work = self._dice.choice(self._past)
            status = self._dice.choice([_START[work.kind], _END[work.kind], "errored", "canceled"])
            await self._report(work, status)

    async def _beat(self) -> None:
        held = [
            wire.HeldPhase(phase_id=doing.work.phase_id, fence=doing.work.fence)
            for doing in self._doing
        ]
        answer = await self._call(agent_api_service.heartbeat, wire.Heartbeat(holding=held))
        if answer is not None and self._dice.random() < 0.8:  # else it does not listen
            self._doing = [d for d in self._doing if d.work.phase_id not in answer.lost]

    async def _die(self) -> None:
        self._doing, self._key = [], self._new_key()

    async def _call(self, use_case: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        context = self._simulation.context(self.actor)
        try:
            return await use_case(context, self.actor.id, *arguments)
        except _REFUSED:
            return None
        except db.Deadlock:
            self._ledger.deadlocks += 1
            return None

    def _new_key(self) -> str:
        return f"{self.actor.id} {self._dice.random()}"


_START: dict[wire.PhaseKind, wire.ReportStatus] = {"plan": "planning", "apply": "applying"}
_END: dict[wire.PhaseKind, wire.ReportStatus] = {"plan": "planned", "apply": "applied"}


class Simulation:
    """The whole of it."""

    def __init__(self, control: Control, dice: random.Random) -> None:
        self.control = control
        self.dice = dice
        self.ledger = Ledger()
        self._admin = system(control.services)
        self._workspaces: list[str] = []
        self._players: list[Player] = []

    async def run(self, *, claims: int) -> None:
        """Go on until so many phases were handed out, then let it all end."""
        await self._prepare()
        turn = 0
        while self.ledger.handed_out < claims:
            turn += 1
            async with anyio.create_task_group() as tasks:
                for player in self._players:
                    tasks.start_soon(player.turn)
                if turn % 3 == 0:
                    tasks.start_soon(self._people)
                if turn % 4 == 0:
                    tasks.start_soon(self._time)
            if turn % 50 == 0:
                await self._look()
        await self._end()
        self.ledger.check()

    def context(self, actor: Actor) -> Context:
        """Somebody's request."""
        return msgspec.structs.replace(self._admin, actor=actor, agent_plane=True)

    async def leave_plan(self, work: wire.Work) -> None:
        """As if the plan file had been uploaded; what uploads take is tested elsewhere."""
        sql = "update phases set artifacts = $2 where id = $1 and fence = $3 and artifacts = '{}'"
        await db.execute(sql, work.phase_id, db.encode(_PLAN), work.fence)

    async def _prepare(self) -> None:
        admin = await self.control.client((await self.control.token("admin", "admin"))[1])
        pool = await factories.pool(admin)
        for number in range(AGENTS):
            agent = await self.control.join(admin, pool, f"agent-{number}")
            # It lives as long as simulated time may take.
            print_ = await db.value(
                "update certificates set not_after = '2200-01-01' where listener_id = $1 "
                "returning fingerprint",
                agent.id,
            )
            actor = Actor(kind="listener", id=agent.id, name=agent.id, pool=pool, credential=print_)
            self._players.append(Player(self, actor))
        for number in range(WORKSPACES):
            workspace = await factories.workspace(admin, f"w{number}", **{"auto-apply": True})
            await factories.configuration(admin, workspace)
            self._workspaces.append(workspace)

    async def _people(self) -> None:
        """New runs, a cancel now and then, and an end of what waits for somebody."""
        if await self._open() < _OPEN_AT_MOST:
            for _ in range(6):
                workspace = self.dice.choice(self._workspaces)
                plan_only = self.dice.random() < 0.2
                new = NewRun(workspace_id=workspace, plan_only=plan_only)
                self.ledger.runs.add((await runs_service.create(self._admin, new)).id)
        if self.dice.random() < 0.3 and self.ledger.runs:
            run = self.dice.choice(sorted(self.ledger.runs))
            deed = self.dice.choice(
                [runs_service.cancel, runs_service.force_cancel, runs_service.discard]
            )
            try:
                await deed(self._admin, run)
            except _REFUSED:
                pass
            except db.Deadlock:
                self.ledger.deadlocks += 1
        await self._holds()

    async def _holds(self) -> None:
        sql = "select id, hold_run_id from workspaces where hold_run_id is not null"
        for row in await db.rows(sql):
            self.ledger.held.add(row["hold_run_id"])
            await holds_service.clear(self._admin, row["id"])

    async def _time(self) -> None:
        """Mostly little passes; now and then so much that leases end."""
        self.control.clock.move(self.dice.choice([1, 1, 5, 5, 20, 45, 130]))
        await self.control.sweep()

    async def _open(self) -> int:
        found: int = await db.value(
            "select count(*) from runs where status not in ('planned_and_finished', 'applied', "
            "'discarded', 'errored', 'canceled')"
        )
        return found

    async def _look(self) -> None:
        """What may never be, in one look at everything."""
        strange = await db.value(
            "select count(*) from phases p join runs r on r.id = p.run_id where "
            "(p.lease_until is not null and p.status not in ('queued', 'running')) or "
            "(p.status in ('queued', 'running') and r.status in ('planned_and_finished', "
            "'applied', 'discarded', 'errored', 'canceled'))"
        )
        assert strange == 0, f"{strange} phases go on although they or their runs have ended"

    async def _end(self) -> None:
        """Everybody is well again: every run has to come to its end."""
        for _ in range(_OPEN_AT_MOST * 30):
            if not await self._open():
                break
            for player in self._players:
                await player.turn(healthy=True)
            await self._holds()
            self.control.clock.move(5)
            await self.control.sweep()
        await self._look()
        assert await self._open() == 0, "runs that never end"
        rows = await db.rows("select id, run_id, kind, fence, start_confirmed, status from phases")
        self.ledger.phases = [dict(row) for row in rows]
