"""Work that is handed out while the agent begins to drain is given back at once."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, phase, quick, serving
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio


class Slow(AgentServer):
    """Its first answer with work is still on its way when the agent has turned away."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.claimed = False
        self.arrives = anyio.Event()

    async def on_next_work(self, named: dict[str, str], _: None) -> Any:
        """Next."""
        answer = await super().on_next_work(named, _)
        if isinstance(answer, wire.NextWork) and answer.work and not self.claimed:
            self.claimed = True
            self.wake()
            await self.arrives.wait()
        return answer


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Slow]:
    (tmp_path / "server").mkdir()
    async with serving(Slow(tmp_path / "server")) as slow:
        yield slow
        slow.arrives.set()


async def test_what_was_claimed_as_the_agent_began_to_drain_is_dropped(
    slow: Slow, data: Path, tmp_path: Path
) -> None:
    process = AgentProcess(quick(data, slow))
    try:
        process.start()
        await slow.until(lambda: "next_work" in slow.calls and slow.heartbeats)
        plan = slow.add(phase("plan", script()))
        await slow.until(lambda: slow.claimed)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    finally:
        process.close()
    assert any(
        wire.HeldPhase(phase_id="plan-1", fence=1) in beat.dropped for beat in slow.heartbeats
    )
    assert plan.status == "pending"
    assert len(plan.keys) == 1


async def test_an_agent_that_drains_ends_although_its_server_is_away(
    tmp_path: Path, data: Path
) -> None:
    (tmp_path / "server").mkdir()
    server = AgentServer(tmp_path / "server")
    settings = quick(data, server)
    async with server.up():
        settings = quick(data, server)
        process = AgentProcess(settings)
        process.start()
        await server.until(lambda: "next_work" in server.calls and server.heartbeats)
    try:
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    finally:
        process.close()
