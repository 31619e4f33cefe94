"""The state server of an apply dies; terraform waits for the next one, and nothing is lost."""

import os
import signal
from pathlib import Path

import pytest

from terrapod_agent.executors import kernel
from tests.agent.test_snapshots import LARGE, WAITS, applying, made
from tests.kit.agent_server import AgentServer
from tests.kit.agents import quick, running

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


def servers(data: Path) -> list[int]:
    """The state servers of an agent."""
    words = {pid: kernel.read(f"/proc/{pid}/cmdline") for pid in kernel.processes()}
    return [
        pid for pid, said in words.items() if "state_server import" in said and str(data) in said
    ]


async def test_a_state_server_that_dies_is_started_again(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    apply = await applying(server, tmp_path, LARGE + WAITS)
    async with running(quick(data, server)):
        await server.until((tmp_path / "pid").exists, 60)
        [first] = servers(data)
        os.kill(first, signal.SIGKILL)
        await server.until(lambda: servers(data) not in ([], [first]))
        (tmp_path / "go").touch()
        await server.until(lambda: apply.ended, 60)
    assert apply.status == "applied", apply.text
    assert made(apply) == 80
    assert servers(data) == []
