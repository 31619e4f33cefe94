"""A tool that was changed on the machine is never started."""

import os
from pathlib import Path

import pytest

from tests.kit.agent_server import AgentServer
from tests.kit.agents import phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

REPLACED = "#!/bin/sh\ntouch {mark}\nexit 0\n"


def replace(data: Path, mark: Path, *, same_look: bool) -> Path:
    """Put another program in the place of the cached one, as a run without isolation can."""
    [tool] = (data / "tools").glob("*/terraform")
    before = tool.stat()
    program = REPLACED.format(mark=mark)
    if same_look:  # size and time of writing as they were
        program += "#" * (before.st_size - len(program))
    tool.write_text(program)
    if same_look:
        os.utime(tool, ns=(before.st_atime_ns, before.st_mtime_ns))
    return tool


@pytest.mark.parametrize("same_look", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_replaced_tool_is_fetched_again(
    server: AgentServer, data: Path, tmp_path: Path, *, same_look: bool, restarted: bool
) -> None:
    settings = quick(data, server)
    first, second = phase("plan", script()), phase("plan", script(), phase_id="plan-2")
    async with running(settings):
        server.add(first)
        await server.until(lambda: first.ended)
        if not restarted:
            replace(data, tmp_path / "ran", same_look=same_look)
            server.add(second)
            await server.until(lambda: second.ended)
    if restarted:
        replace(data, tmp_path / "ran", same_look=same_look)
        async with running(settings):
            server.add(second)
            await server.until(lambda: second.ended)
    assert (first.status, second.status) == ("planned", "planned")
    assert not (tmp_path / "ran").exists()
    assert server.calls.count("download") == 2


async def test_a_tool_that_is_replaced_during_a_phase_is_not_started(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"]]
    plan = server.add(phase("plan", script(plan=steps)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        replace(data, tmp_path / "ran", same_look=True)
        (tmp_path / "go").touch()
        await server.until(lambda: plan.ended)
    assert plan.status == "errored"
    assert "terraform was changed on the agent's machine" in plan.reports[-1].message
    assert not (tmp_path / "ran").exists()


async def test_a_tool_that_is_no_file_is_fetched_again(server: AgentServer, data: Path) -> None:
    first, second = phase("plan", script()), phase("plan", script(), phase_id="plan-2")
    async with running(quick(data, server)):
        server.add(first)
        await server.until(lambda: first.ended)
        [tool] = (data / "tools").glob("*/terraform")
        tool.unlink()
        os.mkfifo(tool)
        server.add(second)
        await server.until(lambda: second.ended)
    assert second.status == "planned"
