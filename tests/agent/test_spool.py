"""What is left of phases: handed in, dropped or kept, and none keeps the others."""

import fcntl
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from terrapod_agent import status
from terrapod_agent.cli import commands
from terrapod_agent.loops.sweep import remove_refused
from terrapod_agent.slots import Slots
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

MONTH = 31 * 86400


def left(data: Path, name: str) -> PhaseFolder:
    """A folder of an agent before this one."""
    folder = PhaseFolder(data / "phases" / name)
    folder.path.mkdir(parents=True)
    (folder.path / "place").write_text(f"{data.parent}/runs/run-{name}")
    return folder


def started(folder: PhaseFolder) -> None:
    """Its ticket says that it is an apply that may have begun."""
    phase_id, _, fence = folder.path.name.rpartition(".")
    folder.save_ticket(
        Ticket(
            run_id=f"run-{folder.path.name}",
            phase_id=phase_id,
            kind="apply",
            fence=int(fence),
            workspace="web",
            working_directory="",
            log_limit=1000,
            started=True,
        )
    )


async def test_a_ticket_that_is_damaged_is_told_of_and_nothing_is_removed(
    server: AgentServer, data: Path
) -> None:
    folder = left(data, "apply-7.3")
    (folder.path / "ticket.json").write_text('{"run_id": "run-')
    (folder.path / "state.whole").write_text("the only copy")
    holding = wire.HeldPhase(phase_id="apply-7", fence=3)
    async with running(quick(data, server)):
        await server.until(lambda: any(holding in beat.dropped for beat in server.heartbeats))
        assert any(beat.kept == [holding] for beat in server.heartbeats)
        await server.until(lambda: (found := status.read(data)) and found.damaged)
        told = CliRunner().invoke(commands, ["status", "--data-dir", str(data)])
    assert told.exit_code == 1
    assert f"{folder.path} can't be handed in" in told.stdout
    assert (folder.path / "state.whole").read_text() == "the only copy"
    assert sum(beat.dropped.count(holding) for beat in server.heartbeats) == 1


async def test_a_damaged_folder_that_a_person_has_removed_is_not_told_of_any_more(
    server: AgentServer, data: Path
) -> None:
    folder = left(data, "apply-7.3")
    (folder.path / "ticket.json").write_text('{"run_id": "run-')
    async with running(quick(data, server)):
        await server.until(lambda: (found := status.read(data)) and found.damaged)
        folder.remove()
        await server.until(lambda: (found := status.read(data)) and not found.damaged)


def test_a_ticket_that_is_damaged_is_kept_for_ever(tmp_path: Path) -> None:
    folder = left(tmp_path, "apply-7.3")
    started(folder)
    (folder.path / "secrets.json").write_text("no secrets")
    age = folder.path.stat().st_mtime - MONTH
    os.utime(folder.path, (age, age))
    remove_refused(folder.path.parent, Slots(1))
    assert folder.path.exists()


async def test_a_phase_whose_ticket_was_never_written_is_dropped_at_once(
    server: AgentServer, data: Path
) -> None:
    """The agent was killed right after it had made the folder."""
    folder = left(data, "plan-7.3")
    left(data, "of-nobody")
    async with running(quick(data, server)):
        await server.until(lambda: any(beat.dropped for beat in server.heartbeats))
    [dropped] = [beat.dropped for beat in server.heartbeats if beat.dropped]
    assert dropped == [wire.HeldPhase(phase_id="plan-7", fence=3)]
    assert not folder.path.exists()


async def test_one_that_still_runs_does_not_keep_those_that_come_later(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    stuck = left(data, "apply-7.3")
    started(stuck)
    server.add(phase("apply", phase_id="apply-7", run_id="run-apply-7.3", fence=3))
    server.waiting.clear()
    lock = os.open(stuck.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    async with running(quick(data, server)):
        await server.until(lambda: server.heartbeats and server.heartbeats[-1].holding)
        steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"], ["state", 3]]
        apply = server.add(apply_phase(script(apply=steps)))
        await server.until((tmp_path / "up").exists)
        server.fault("report", "status", 500, times=8)
        (tmp_path / "go").touch()
        await server.until(lambda: apply.ended)
        assert stuck.path.exists()
        os.close(lock)
        await server.until(lambda: server.phases["apply-7"].ended)
    assert apply.status == "applied"


async def test_a_ticket_that_a_person_has_mended_is_handed_in(
    server: AgentServer, data: Path
) -> None:
    folder = left(data, "apply-7.3")
    started(folder)
    server.add(phase("apply", phase_id="apply-7", run_id="run-apply-7.3", fence=3))
    server.waiting.clear()
    ticket = folder.path / "ticket.json"
    whole = ticket.read_bytes()
    ticket.write_bytes(whole[:20])
    async with running(quick(data, server)):
        await server.until(lambda: (found := status.read(data)) and found.damaged)
        ticket.write_bytes(whole)
        await server.until(lambda: server.phases["apply-7"].ended)
        await server.until(lambda: (found := status.read(data)) and not found.damaged)
