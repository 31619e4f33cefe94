"""What chaos kills is found: a victim that nobody finds proves nothing."""

import os
from pathlib import Path

import pytest

from tests.kit import processes
from tests.kit.agent_server import AgentServer
from tests.kit.agents import phase, quick, running
from tests.kit.scripted_terraform import parent, script

pytestmark = pytest.mark.anyio


async def test_shim_and_terraform_of_an_agent_are_found(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    pid, go = tmp_path / "pid", tmp_path / "go"
    plan = phase("plan", script(plan=[["pid", str(pid)], ["wait", str(go)]]))
    async with running(quick(data, server)):
        server.add(plan)
        await server.until(lambda: pid.exists() and pid.read_text())
        shims, terraforms = processes.shims(os.getpid()), processes.terraforms(os.getpid())
        assert [one.pid for one in shims] == [parent(pid)]
        assert [str(one.pid) for one in terraforms] == [pid.read_text()]
        go.touch()
        await server.until(lambda: plan.ended)
