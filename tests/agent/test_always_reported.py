"""Whatever a run has left, and whatever cannot be looked at: the phase ends with a report."""

import os
import shutil
from pathlib import Path

import pytest

from terrapod_agent.executors.base import Exit
from terrapod_agent.executors.process import ProcessRecord, read_exit, read_record
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_agent.work.state import final_state
from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, apply_phase, phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

# As an ordinary user, who may not do with a closed folder what root may.
ORDINARY = (shutil.which("unshare") or "", "--user", "--map-user=1000", "--map-group=1000", "--")
LOOP = ["shell", "mv $PWD ../x && ln -s tree ../tree"]
AWAY = ["shell", "mv $PWD ../x; ln -s /etc ../tree"]
ODD = "open(b'a\\xff', 'w').close(); os.chmod(b'a\\xff', 0)"


def ticket(**changes: object) -> Ticket:
    said: dict[str, object] = {
        "run_id": "run-1",
        "phase_id": "apply-1",
        "kind": "apply",
        "fence": 1,
        "workspace": "web",
        "working_directory": "",
        "log_limit": 1000,
        "started": True,
    }
    return Ticket(**(said | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "told"),
    [(LOOP, "nobody can see whether there is an errored.tfstate"), (AWAY, "leads out of")],
    ids=["a loop", "a way out"],
)
async def test_an_apply_that_puts_a_link_in_the_place_of_its_folder_is_held_with_its_state(
    server: AgentServer, data: Path, step: list[str], told: str
) -> None:
    """What is not to be seen in the other folder may be in its own."""
    apply = server.add(apply_phase(script(apply=[["state", 3], step, ["exit", 1]])))
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
    last = apply.reports[-1]
    assert (last.status, last.state_uploaded) == ("errored", False)
    assert told in last.state_trouble
    assert b'"serial": 3' in apply.states[-1][0]


async def test_an_apply_that_closes_its_folder_is_held_with_its_state(
    server: AgentServer, data: Path
) -> None:
    steps = [["state", 3], ["shell", "chmod 0 ."], ["exit", 1]]
    apply = server.add(apply_phase(script(apply=steps)))
    process = AgentProcess(quick(data, server), before=ORDINARY)
    try:
        process.start()
        await server.until(lambda: apply.ended)
    finally:
        process.close()
    last = apply.reports[-1]
    assert (last.status, last.state_uploaded) == ("errored", False)
    assert b'"serial": 3' in apply.states[-1][0]


async def test_a_plan_that_leaves_a_closed_file_with_an_odd_name_is_reported(
    server: AgentServer, data: Path
) -> None:
    plan = server.add(phase("plan", script(plan=[["python", ODD]])))
    process = AgentProcess(quick(data, server), before=ORDINARY)
    try:
        process.start()
        await server.until(lambda: plan.ended)
    finally:
        process.close()
    assert plan.status == "errored"
    assert plan.text.endswith(f"Error: {plan.reports[-1].message}\n")


async def test_a_loop_that_an_earlier_agent_left_is_reported_too(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    """Its own agent was killed before it could say anything."""
    apply = server.add(
        apply_phase(script(apply=[["state", 3], LOOP, ["touch", f"{tmp_path}/up"], ["wait", "x"]]))
    )
    process = AgentProcess(quick(data, server))
    try:
        process.start()
        await server.until((tmp_path / "up").exists)
        process.close()
        process.start()
        await server.until(lambda: apply.ended)
    finally:
        process.close()
    assert (apply.status, apply.reports[-1].state_uploaded) == ("errored", False)
    assert b'"serial": 99' in apply.states[-1][0]


def test_what_cannot_be_looked_at_is_a_doubt(tmp_path: Path) -> None:
    folder = PhaseFolder(tmp_path)  # not even the name of its place is there
    found = final_state(folder, ticket(outcome=wire.Report(status="errored")))
    assert found.content is None
    assert "could not be looked at" in found.doubt


def test_lines_of_the_agent_may_have_names_that_are_no_text(tmp_path: Path) -> None:
    folder = PhaseFolder(tmp_path)
    folder.log_line(os.fsdecode(b"no \xff"))
    assert folder.log.read_text() == "no ?\n"


def test_damaged_records_of_an_end_tell_of_no_good_one(tmp_path: Path) -> None:
    (tmp_path / "exit").write_text("code nothing\n")
    ended = read_exit(tmp_path / "exit")
    assert ended is not None
    assert ended.hard
    assert ended.describe() == "nothing tells how it ended"
    (tmp_path / "lock").write_text("pid nothing\n")
    assert read_record(tmp_path / "lock") == ProcessRecord()
    assert Exit(code=0).hard is False
