"""Serves the whole agent protocol for real, over mutual TLS, with everything in memory.

It is strict where the control plane is: fences, offsets, digests, log sizes. Faults are put in
by name of the call, and are used up one by one.
"""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec

from terrapod_common import agent_protocol, wire
from terrapod_common.agent_protocol import Code
from tests.kit.agent_enrolling import LISTENER, Enrolling
from tests.kit.agent_records import Fault, PhaseRecord, Refusal, match, stored
from tests.kit.agent_sharing import Sharing
from tests.kit.asgi import Answer, Peer, Question, Reset, application, serve

PLATFORM = "linux_amd64"


class AgentServer(Enrolling, Sharing):
    """The agent plane of a control plane."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.phases: dict[str, PhaseRecord] = {}
        self.waiting: list[str] = []
        self.orders: list[wire.Order] = []
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self.heartbeats: list[wire.Heartbeat] = []
        self.roots: set[str] = set()
        self.tools: dict[str, bytes] = {}
        self.lease = 30.0
        self.every = 5.0
        self.drain = False
        self._changed = anyio.Event()
        self._ports = {"agents": 0, "public": 0}

    @property
    def url(self) -> str:
        """The public port."""
        return f"https://127.0.0.1:{self._ports['public']}"

    @property
    def agent_url(self) -> str:
        """The port with mutual TLS."""
        return f"https://127.0.0.1:{self._ports['agents']}"

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Serve; the ports stay the same when it is left and entered again."""
        chain = self.folder / "server.pem"
        if not chain.exists():
            chain.write_text(self.authority.server())
        strict, public = self.authority.contexts(chain)
        app = application(self._answer)
        async with (
            serve(app, strict, self._ports["agents"]) as self._ports["agents"],
            serve(app, public, self._ports["public"]) as self._ports["public"],
        ):
            yield

    def add(self, phase: PhaseRecord) -> PhaseRecord:
        """Queue a phase."""
        self.phases[phase.work.phase_id] = phase
        self.waiting.append(phase.work.phase_id)
        self.wake()
        return phase

    def order(self, phase: PhaseRecord, kind: wire.OrderKind) -> None:
        """Give an order that stands."""
        self.orders.append(wire.Order(phase_id=phase.work.phase_id, fence=phase.fence, kind=kind))
        self.wake()

    def fault(self, call: str, how: Any, status: int = 503, times: int = 1) -> None:
        """Let the next calls of that name go wrong."""
        self.faults += [Fault(call, how, status) for _ in range(times)]

    async def until(self, condition: Callable[[], Any], seconds: float = 20) -> None:
        """Return once the condition holds; it is looked at after every call."""
        with anyio.fail_after(seconds):
            while not condition():
                with anyio.move_on_after(0.5):  # a condition may also be about files
                    await self._changed.wait()

    def wake(self) -> None:
        """Let those who wait look again, after a change from outside."""
        self._changed.set()
        self._changed = anyio.Event()

    async def _answer(self, question: Question, peer: Peer) -> Answer:
        call, named = match(question)
        self.calls.append(call.name)
        fault = next((fault for fault in self.faults if fault.call == call.name), None)
        if fault:
            self.faults.remove(fault)
            self.wake()
            if fault.how == "lose_question":
                raise Reset
            if fault.how == "status":
                return Answer(fault.status, b"no, for a test")
        try:
            answer = await self._handle(call, named, question, peer)
        except Refusal as refusal:
            answer = refusal.answer()
        self.wake()
        if fault:
            raise Reset
        return answer

    async def _handle(
        self, call: Any, named: dict[str, str], question: Question, peer: Peer
    ) -> Answer:
        if call.port == "agents" and call is not agent_protocol.RENEW and not peer.certificate:
            told = f"this is served on the agent port, {self.agent_url}"
            raise Refusal(403, told, Code.AGENT_PORT)
        if peer.certificate and peer.fingerprint not in self.listeners:
            raise Refusal(401, "the certificate was revoked", Code.CERTIFICATE)
        if named.get("listener_id", LISTENER) != LISTENER:
            raise Refusal(404, "there is no such listener", Code.UNKNOWN_LISTENER)
        body: Any = question.body
        if call.request not in (None, bytes):
            body = msgspec.json.decode(body, type=call.request)
        handler = getattr(self, f"on_{call.name}")
        result = await handler({**question.query, **named}, body)
        if isinstance(result, Answer):
            return result
        if isinstance(result, bytes):
            return Answer(200, result)
        return Answer(200, msgspec.json.encode(result))

    async def on_heartbeat(
        self, named: dict[str, str], beat: wire.Heartbeat
    ) -> wire.HeartbeatAnswer:
        """Beat."""
        self.heartbeats.append(beat)
        held = {h.phase_id for h in beat.holding if self._stands(h.phase_id, h.fence)}
        return wire.HeartbeatAnswer(
            every_seconds=self.every,
            leases=dict.fromkeys(held, self.lease),
            lost=[h.phase_id for h in beat.holding if h.phase_id not in held],
            orders=self.orders,
            drain=self.drain,
        )

    async def on_next_work(self, named: dict[str, str], _: None) -> Any:
        """Next: the same key gets the same work."""
        self.roots.add(named["root"])
        for phase in self.phases.values():
            if named["key"] in phase.keys:
                return wire.NextWork(work=phase.work)
        with anyio.move_on_after(float(named["wait"])):
            while not (found := self._claimable(named["accept"])):
                if self.drain or wire.orders_fingerprint(self.orders) != named["seen"]:
                    return wire.NextWork(orders=self.orders, drain=self.drain)
                await self._changed.wait()
            self.waiting.remove(found.work.phase_id)
            found.keys.append(named["key"])
            return wire.NextWork(work=found.work)
        return Answer(204, b"")

    async def on_orders(self, named: dict[str, str], _: None) -> wire.Orders:
        """Orders."""
        with anyio.move_on_after(float(named["wait"])):
            while wire.orders_fingerprint(self.orders) == named["seen"]:
                await self._changed.wait()
        return wire.Orders(orders=self.orders, drain=self.drain)

    async def on_report(self, named: dict[str, str], report: wire.Report) -> wire.Reported:
        """Report: a repeated one is taken again, a wrong log size is not."""
        phase = self._known(report.phase_id or "")
        if phase.reports and phase.reports[-1] == report:
            return wire.Reported(status=report.status, lease_seconds=self.lease)
        self._mine(phase, report.fence or 0)
        if report.status in ("planning", "applying"):
            self._must_start(phase, report.status)
        else:
            if report.log_size != len(phase.log):
                told = f"the log has {len(phase.log)} bytes, not {report.log_size}"
                raise Refusal(409, told, Code.LOG_SIZE)
            phase.ended = True
            self.orders = [o for o in self.orders if o.phase_id != report.phase_id]
        phase.reports.append(report)
        return wire.Reported(status=report.status, lease_seconds=self.lease)

    async def on_log(self, named: dict[str, str], body: bytes) -> wire.LogAnswer:
        """Append at the expected offset."""
        return self._phase(named).append(int(named["offset"]), body)

    async def on_configuration(self, named: dict[str, str], _: None) -> bytes:
        """The archive."""
        return self._phase(named).configuration

    async def on_state_get(self, named: dict[str, str], _: None) -> bytes | Answer:
        """The state before; 204 where there never was one."""
        found = self._phase(named).state
        return found or Answer(204, b"")

    async def on_state_put(self, named: dict[str, str], body: bytes) -> wire.StoredAnswer:
        """A state under the fence."""
        self._phase(named).states.append((body, named["final"] == "true"))
        return stored(body)

    async def on_recovered_state(self, named: dict[str, str], body: bytes) -> wire.StoredAnswer:
        """A state after the fence."""
        phase = self._known(named["phase_id"])
        if self._stands(phase.work.phase_id, int(named["fence"])):
            raise Refusal(409, "it is not lost", Code.NOT_LOST)
        phase.recovered.append(body)
        return stored(body)

    async def on_late_log(self, named: dict[str, str], body: bytes) -> wire.LogAnswer:
        """What is left of a log after the fence."""
        phase = self._given_up(named)
        if phase.late and body:
            raise Refusal(409, "everything was said", Code.NOTHING_MORE)
        return phase.append(int(named["offset"]), body)

    async def on_late_result(
        self, named: dict[str, str], body: wire.LateResult
    ) -> wire.LateResultAnswer:
        """What became of a phase after the fence."""
        phase = self._given_up(named)
        phase.late = phase.late or [body]
        return wire.LateResultAnswer(hold="known")

    async def on_artifact_put(self, named: dict[str, str], body: bytes) -> wire.StoredAnswer:
        """An artifact of a plan."""
        if hashlib.sha256(body).hexdigest() != named["digest"]:
            raise Refusal(422, "the digest does not fit", Code.WRONG_DIGEST)
        self._phase(named).artifacts[named["name"]] = body
        return stored(body)

    async def on_artifact_get(self, named: dict[str, str], _: None) -> bytes:
        """An artifact for an apply."""
        return self._phase(named).artifacts[named["name"]]

    async def on_tool(self, named: dict[str, str], _: None) -> Answer:
        """A redirect to the executable."""
        content = self.tools[f"{named['tool']}/{named['version']}"]
        at = f"/download/{named['tool']}/{named['version']}"
        digest = hashlib.sha256(content).hexdigest()
        return Answer(302, b"", {"location": at, "x-terrapod-digest": digest})

    async def on_download(self, named: dict[str, str], _: None) -> bytes:
        """The executable."""
        return self.tools[f"{named['tool']}/{named['version']}"]

    def _claimable(self, accept: str) -> PhaseRecord | None:
        phases = (self.phases[phase_id] for phase_id in self.waiting)
        return next((phase for phase in phases if phase.work.kind in accept.split(",")), None)

    def _phase(self, named: dict[str, str]) -> PhaseRecord:
        phase = self._known(named["phase_id"])
        self._mine(phase, int(named["fence"]))
        return phase

    def _known(self, phase_id: str) -> PhaseRecord:
        if phase_id not in self.phases:
            raise Refusal(404, "there is no such phase", Code.NOT_YOURS)
        return self.phases[phase_id]

    def _given_up(self, named: dict[str, str]) -> PhaseRecord:
        phase = self._known(named["phase_id"])
        if phase.ended or phase.fence == int(named["fence"]):
            raise Refusal(409, "it was not lost", Code.NOT_LOST)
        return phase

    def _must_start(self, phase: PhaseRecord, status: str) -> None:
        if (status == "planning") != (phase.work.kind == "plan"):
            raise Refusal(409, f"it cannot be {status}", Code.WRONG_STATUS)
        if any(order.phase_id == phase.work.phase_id for order in self.orders):
            raise Refusal(409, "it is being canceled", Code.CANCELED)

    def _stands(self, phase_id: str, fence: int) -> bool:
        phase = self.phases.get(phase_id)
        return phase is not None and phase.fence == fence and not phase.ended

    def _mine(self, phase: PhaseRecord, fence: int) -> None:
        if not self._stands(phase.work.phase_id, fence):
            raise Refusal(409, "the fence is stale", Code.STALE_FENCE)
