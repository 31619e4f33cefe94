"""One run does not take the agent, nor the phases beside it."""

import os
import time
from pathlib import Path

import anyio
import pytest

from terrapod_agent.work import artifacts
from terrapod_agent.work.initialize import InitLogCopier
from terrapod_agent.work.logs import MaskedLog
from terrapod_agent.work.phase_folder import PhaseFolder
from terrapod_common import files, wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

SECRET = "correct horse " * 220_000  # 3 MB


async def _longest_pause(pauses: list[float]) -> None:
    while True:
        began = time.monotonic()
        await anyio.sleep(0.01)
        pauses.append(time.monotonic() - began - 0.01)


@pytest.mark.timeout(120)
async def test_a_secret_of_3_mb_delays_neither_heartbeats_nor_another_phase(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    """The agent runs in this loop, so a pause here is one of its beats."""
    server.every = 0.05
    variable = wire.RunVariable(key="big", value=SECRET, sensitive=True)
    printed = [SECRET, "ordinary line\n" * 200_000, SECRET[:-7]]
    steps = [*(["print", text] for text in printed), ["touch", f"{tmp_path}/printed"]]
    plan = phase("plan", script(plan=steps), variables=[variable])
    waits = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/printed"], ["print", "went on"]]
    other = phase("plan", script(plan=waits), run_id="run-2", phase_id="plan-2")
    pauses: list[float] = []
    async with running(quick(data, server, slots=2)), anyio.create_task_group() as tasks:
        tasks.start_soon(_longest_pause, pauses)
        server.add(other)
        await server.until((tmp_path / "up").exists)
        server.add(plan)
        await server.until((tmp_path / "printed").exists, 60)
        beats = len(server.heartbeats)
        await server.until(lambda: other.ended, 60)
        await server.until(lambda: len(server.heartbeats) > beats + 5, 60)
        assert "***" not in plan.text  # it is still at the first secret
        await server.until(lambda: plan.ended, 100)
        tasks.cancel_scope.cancel()
    assert (plan.status, other.status) == ("planned", "planned")
    assert other.text.endswith("went on\n")
    assert "***\nordinary line\n" in plan.text
    assert SECRET.strip()[:100] not in plan.text.partition("ordinary")[0]
    # Quadratic masking took minutes; what is left are turns of the interpreter's lock.
    assert max(pauses) < 3


@pytest.mark.parametrize("made", ["pipe", "link", "folder"])
async def test_what_is_no_file_is_neither_waited_for_nor_followed(
    tmp_path: Path, made: str
) -> None:
    private = tmp_path / "private"
    private.write_text("of the agent")
    path = tmp_path / "path"
    if made == "pipe":
        os.mkfifo(path)
    elif made == "link":
        path.symlink_to(private)
    else:
        path.mkdir()
    with pytest.raises(OSError, match="not a file that can be read"):
        files.open_regular(path)
    with pytest.raises(OSError, match="not a file that can be read"):
        artifacts.sha256_of_file(path)
    log = MaskedLog(path, [], 1000)
    with pytest.raises(OSError, match="not a file that can be read"):
        log.peek()


async def test_a_lock_file_that_leads_elsewhere_is_not_handed_in(
    server: AgentServer, data: Path
) -> None:
    """Else the key of the agent would be in the tree of the apply."""
    steps = [["link", ".terraform.lock.hcl", str(data / "identity.json")]]
    plan = server.add(phase("plan", script(plan=steps)))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
    assert plan.status == "errored"
    assert wire.LOCK_FILE not in plan.artifacts


async def test_a_pipe_in_place_of_what_init_said_is_left_alone(tmp_path: Path) -> None:
    folder = PhaseFolder(tmp_path)
    os.mkfifo(folder.init_log)
    InitLogCopier(folder).copy_new()
    assert not folder.log.exists()
    folder.init_log.unlink()
    folder.init_log.write_text("said")
    InitLogCopier(folder).copy_new()
    assert folder.log.read_text() == "said"
    folder.log.unlink()
    os.mkfifo(folder.log)
    folder.log_line("nobody reads this")


async def test_values_that_cannot_be_masked_fail_the_run_before_it_starts(
    server: AgentServer, data: Path
) -> None:
    lines = "\n".join(f"line {number}" for number in range(110_000))
    variable = wire.RunVariable(key="many", value=lines, sensitive=True)
    plan = server.add(phase("plan", script(), variables=[variable]))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
    assert plan.status == "errored"
    assert "too large to be masked" in plan.reports[-1].message
    assert [report.status for report in plan.reports] == ["errored"]
