"""What the agent does when the server is there but fails, and when something is not there."""

import os
from pathlib import Path

import pytest

from terrapod_agent.loops.sweep import remove_refused
from terrapod_agent.slots import Slots
from terrapod_agent.work import phase_folder
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_agent.work.state import read_whole_state
from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

MONTH = 31 * 86400


def failing(server: AgentServer, call: str) -> None:
    """The server fails at a call for longer than an agent tries."""
    for _ in range(20):
        server.fault(call, "status", 500)


async def test_a_state_that_cannot_be_had_is_an_error_and_never_an_empty_state(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    ran = [["touch", f"{tmp_path}/ran"]]
    apply = server.add(apply_phase(script(init=ran, apply=ran), has_state=True))
    failing(server, "state_get")
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
    assert apply.status == "errored"
    assert "500 to state_get" in apply.reports[-1].message
    assert not (tmp_path / "ran").exists()


async def test_a_state_that_the_server_cannot_store_is_kept_and_frees_the_slot(
    server: AgentServer, data: Path
) -> None:
    apply = server.add(apply_phase(script(apply=[["state", 3]])))
    failing(server, "state_put")
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
        await server.until(lambda: server.heartbeats and not server.heartbeats[-1].holding)
    assert apply.status == "applied"
    assert apply.reports[-1].state_uploaded is False
    [kept] = (data / "phases").iterdir()
    assert PhaseFolder(kept).load_ticket() is not None


async def test_an_end_that_the_server_fails_to_take_is_offered_again(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"], ["state", 3]]
    apply = server.add(apply_phase(script(apply=steps)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        for _ in range(10):
            server.fault("report", "status", 500)
        (tmp_path / "go").touch()
        await server.until(lambda: apply.ended)
        await server.until(lambda: not list((data / "phases").iterdir()))
    assert apply.status == "applied"
    assert [report.status for report in apply.reports] == ["applying", "applied"]


async def test_an_apply_ends_with_a_state_in_its_place(server: AgentServer, data: Path) -> None:
    apply = server.add(apply_phase(script(apply=[["remove-state"]])))
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
    assert apply.status == "applied"
    assert apply.reports[-1].state_uploaded is False
    assert list((data / "phases").iterdir())


def test_an_encrypted_state_of_opentofu_is_a_state(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text(
        '{"serial":1,"lineage":"l","meta":{},"encrypted_data":"e","encryption_version":"v0"}'
    )
    assert read_whole_state(path, 1000, tmp_path) == path.read_bytes()
    path.write_text('{"serial":1,"lineage":"l"}')
    assert read_whole_state(path, 1000, tmp_path) is None


def test_what_lies_for_a_month_is_removed_but_never_a_state(tmp_path: Path) -> None:
    tickets = {
        "held": _ticket("apply", started=True),
        "stored": _ticket("apply", started=True, state_stored=True),
        "never": _ticket("apply"),
        "plan": _ticket("plan", started=True),
        "young": _ticket("plan"),
    }
    for name, ticket in tickets.items():
        folder = PhaseFolder(tmp_path / name)
        folder.path.mkdir()
        folder.save_ticket(ticket)
        if name != "young":
            age = folder.path.stat().st_mtime - MONTH
            os.utime(folder.path, (age, age))
    remove_refused(tmp_path, Slots(1))
    assert {folder.path.name for folder in phase_folder.existing_folders(tmp_path)} == {
        "held",
        "young",
    }


def _ticket(kind: wire.PhaseKind, *, started: bool = False, state_stored: bool = False) -> Ticket:
    return Ticket(
        run_id="run-1",
        phase_id=f"{kind}-1",
        kind=kind,
        fence=1,
        workspace="net",
        working_directory="",
        log_limit=1000,
        started=started,
        state_stored=state_stored,
    )
