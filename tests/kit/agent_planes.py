"""The agent plane of a control plane, real or the agents' test server: what has to be alike."""

import secrets
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from terrapod_agent import enroll
from terrapod_agent import identity as identities
from terrapod_agent.client import Client
from terrapod_agent.connectivity import Connectivity
from terrapod_agent.identity import Identity
from terrapod_agent.settings import AgentSettings
from terrapod_common import agent_protocol, wire
from terrapod_common.settings import Secret
from tests.kit import factories
from tests.kit.agent_server import AgentServer
from tests.kit.agents import QUICK, apply_of, phase
from tests.kit.control import Client as ApiClient
from tests.kit.control import Control
from tests.kit.lost import LATER

A = TypeVar("A")
ROOT = "/var/lib/terrapod-runs"


class Plane(Protocol):
    """A server as an agent meets it, and what happens behind its back."""

    url: str
    ca: str

    async def token(self) -> str:
        """One that an agent can join with."""

    async def queue(self) -> None:
        """There is a plan to be claimed, and after it its apply."""

    async def cancel(self, work: wire.Work) -> None:
        """A person wants a phase under way to end."""

    async def give_up(self, work: wire.Work) -> None:
        """The server has not heard of the holder of an apply for too long."""

    async def revoke(self, listener: str) -> None:
        """An agent is an agent no more."""


class RealPlane:
    """A control plane."""

    def __init__(self, control: Control, api: ApiClient, pool: str) -> None:
        self.url = control.public_url
        self.ca = control.services.authority.cert_pem.decode()
        self._control, self._api, self._pool = control, api, pool

    async def token(self) -> str:
        """A new join token of the pool."""
        document = {"type": "authentication-tokens", "attributes": {"description": "for a test"}}
        made = await self._api.post(
            f"/api/v2/agent-pools/{self._pool}/authentication-tokens", document
        )
        text: str = made["data"]["attributes"]["token"]
        return text

    async def queue(self) -> None:
        """A run that is applied by itself."""
        workspace = await factories.workspace(self._api)
        await factories.configuration(self._api, workspace)
        await factories.run(self._api, workspace, **{"auto-apply": True})

    async def cancel(self, work: wire.Work) -> None:
        """By the action of the run."""
        await self._api.call("POST", f"/api/v2/runs/{work.run_id}/actions/cancel")

    async def give_up(self, work: wire.Work) -> None:
        """Its lease ends."""
        self._control.clock.move(LATER)
        await self._control.sweep()

    async def revoke(self, listener: str) -> None:
        """By its pool."""
        path = f"/api/v2/agent-pools/{self._pool}/listeners/{listener}"
        assert (await self._api.call("DELETE", path)).is_success


class DoublePlane:
    """The agents' test server."""

    def __init__(self, server: AgentServer) -> None:
        self.url, self.ca, self._server = server.url, server.authority.pem, server

    async def token(self) -> str:
        """The one that there is."""
        return next(iter(self._server.tokens))

    async def queue(self) -> None:
        """A plan, and an apply that has what it leaves."""
        plan = self._server.add(phase("plan"))
        self._server.add(apply_of(plan))

    async def cancel(self, work: wire.Work) -> None:
        """An order that stands."""
        self._server.order(self._server.phases[work.phase_id], "cancel")

    async def give_up(self, work: wire.Work) -> None:
        """Its fence counts no more."""
        self._server.phases[work.phase_id].fence += 1

    async def revoke(self, listener: str) -> None:
        """Its certificates are forgotten."""
        self._server.listeners.clear()


class PlaneAgent:
    """An agent that does nothing by itself."""

    def __init__(self, data: Path, identity: Identity) -> None:
        self.identity = identity
        trust = identities.agent_context(data, identity)
        url, id_ = identity.agent_url, identity.listener_id
        self.client = Client(url, trust, QUICK, Connectivity(quiet=True), id_)

    @classmethod
    async def joined(cls, plane: Plane, data: Path, token: str) -> "PlaneAgent":
        """One with an identity of its own; the token pays for it."""
        ca = data.with_suffix(".pem")
        ca.write_text(plane.ca)
        settings = AgentSettings(
            data_dir=data, url=plane.url, name="agent", ca_file=ca, join_token=Secret(token)
        )
        return cls(data, await enroll.join(msgspec.structs.replace(settings, waits=QUICK)))

    async def claim(self, accept: str, key: str = "") -> wire.Work | None:
        """Work for its slot, without waiting for it; each question has a key of its own."""
        key = key or secrets.token_hex(8)
        asked: dict[str, Any] = {
            "slot": 0,
            "key": key,
            "accept": accept,
            "seen": "0",
            "root": ROOT,
        }
        found = await self.client.call_optional(agent_protocol.NEXT_WORK, None, **asked)
        return found.work if found else None

    async def report(self, work: wire.Work, status: wire.ReportStatus, **said: Any) -> str:
        """What it says of a phase; the status of the run then."""
        report = wire.Report(status=status, phase_id=work.phase_id, fence=work.fence)
        report = msgspec.structs.replace(report, **said)
        answer = await self.client.call(agent_protocol.REPORT, report, run_id=work.run_id)
        return answer.status

    async def heartbeat(self, *works: wire.Work) -> wire.HeartbeatAnswer:
        """It lives and holds these."""
        held = [
            wire.HeldPhase(phase_id=work.phase_id, fence=work.fence, claim=work.claim)
            for work in works
        ]
        question = wire.Heartbeat(holding=held, root=ROOT)
        return await self.client.call(agent_protocol.HEARTBEAT, question)

    async def upload(
        self, call: agent_protocol.Call[bytes, A], work: wire.Work, body: bytes, **named: str
    ) -> A:
        """Sends something of a phase."""
        lease: dict[str, Any] = {"phase_id": work.phase_id, "fence": work.fence}
        return await self.client.upload(call, body, **lease, **named)
