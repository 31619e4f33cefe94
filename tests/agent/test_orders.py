"""Orders come by a poll, and a harder one in the place of the first comes as soon."""

from pathlib import Path

import pytest

from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio


async def test_a_force_cancel_after_a_cancel_kills_terraform_before_the_next_beat(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    server.every = 600
    steps = [["ignore-interrupts"], ["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    limits = wire.Limits(grace_seconds=600)
    apply = server.add(apply_phase(script(apply=steps), limits=limits))
    async with running(quick(data, server)):
        await server.until((tmp_path / "pid").exists)
        server.order(apply, "cancel")
        beats = len(server.heartbeats)
        orders = server.calls.count("orders")
        # It has heard of the first and waits for what comes after it.
        await server.until(lambda: server.calls.count("orders") > orders)
        server.orders = []
        server.order(apply, "force_cancel")
        await server.until(lambda: apply.ended)
        assert len(server.heartbeats) <= beats + 1  # which is about the end itself
    assert "signal 9" in apply.reports[-1].message
