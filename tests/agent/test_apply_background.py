"""What is done beside an apply fails, because the machine refuses it; terraform goes on."""

import fcntl
import os
import resource
from pathlib import Path
from typing import Any

import anyio
import pytest

from terrapod_agent.work import snapshots
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_common import files, wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, apply_phase, quick
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio


async def test_a_log_that_cannot_be_read_for_a_while_is_sent_later(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    """Its path leads nowhere for a while; terraform has it open."""
    log = data / "phases" / "apply-1.1" / "log"
    away = [["shell", f"mv {log} {tmp_path}/log && mkdir {log}"], ["touch", f"{tmp_path}/away"]]
    back = [["wait", f"{tmp_path}/go"], ["shell", f"rmdir {log} && mv {tmp_path}/log {log}"]]
    steps: list[Any] = [["print", "one"], *away, *back, ["print", "two"], ["wait", f"{tmp_path}/2"]]
    apply = server.add(apply_phase(script(apply=[*steps, ["state", 3]])))
    process = AgentProcess(quick(data, server))
    try:
        process.start()
        await server.until((tmp_path / "away").exists)
        await server.until(lambda: b"the log can't be sent yet" in process.output.read_bytes())
        (tmp_path / "go").touch()
        await server.until(lambda: b"two" in apply.log)  # while terraform still runs
        (tmp_path / "2").touch()
        await server.until(lambda: apply.ended)
    finally:
        process.close()
    assert apply.status == "applied", apply.text
    assert "interrupted" not in apply.text


async def test_an_agent_that_gets_no_files_for_a_while_lets_terraform_go_on(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    steps: list[Any] = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"], ["state", 3]]
    steps += [["print", "one"], ["wait", f"{tmp_path}/2"]]
    apply = server.add(apply_phase(script(apply=steps)))
    process = AgentProcess(quick(data, server))
    try:
        process.start()
        await server.until((tmp_path / "up").exists)
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (1, hard))
        (tmp_path / "go").touch()
        told = (b"the log can't be sent yet", b"a state cannot be kept aside")
        await server.until(lambda: all(line in process.output.read_bytes() for line in told))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        await server.until(lambda: apply.states and b"one" in apply.log)
        (tmp_path / "2").touch()
        await server.until(lambda: apply.ended)
    finally:
        process.close()
    assert apply.status == "applied", apply.text
    assert "interrupted" not in apply.text


async def test_a_state_server_stays_for_as_long_as_terraform_runs(tmp_path: Path) -> None:
    """Also when the agent is done with it; terraform may still have to save."""
    folder = _folder(tmp_path)
    ticket = Ticket(
        run_id="run-1",
        phase_id="apply-1",
        kind="apply",
        fence=1,
        workspace="web",
        working_directory="",
        log_limit=1000,
        state_password="a-password",
    )
    tool, left = wire.Tool(name="terraform", version="1.15.5"), anyio.Event()
    lock = os.open(folder.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)

    async def serve() -> None:
        async with snapshots.run_state_server(folder, ticket, tool, None, last_words=0.0):
            pass
        left.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            with anyio.move_on_after(2):
                await left.wait()
            assert not left.is_set()
            os.close(lock)
            await left.wait()


def _folder(tmp_path: Path) -> PhaseFolder:
    folder = PhaseFolder(tmp_path / "phases" / "apply-1.1")
    folder.path.mkdir(parents=True)
    runs = files.private_folder(tmp_path / "runs")
    (folder.path / "place").write_text(f"{runs}/run-1")
    folder.run_folder.acquire()
    files.write_new(folder.cli_config, b"")
    return folder
