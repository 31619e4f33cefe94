"""A run may put anything into its place; the agent, with rights of its own, is not led by it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from terrapod_agent.errors import OperationFailed
from terrapod_agent.executors import python_program
from terrapod_agent.work import plan_file, state_server
from terrapod_agent.work.logs import MaskedLog
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_agent.work.plan import _read_plan_json
from terrapod_agent.work.state import is_state
from terrapod_agent.work.state_diff import count_changes, count_values
from terrapod_agent.work.terraform import Counts
from terrapod_common import files, wire
from tests.agent.test_plan_file import CLOUD, LOCAL, change, field, saved
from tests.kit.agent_records import PhaseRecord
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, apply_phase, phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

SECRET = {"version": 4, "serial": 9, "lineage": "of another run", "outputs": {}, "resources": []}
AS_ROOT = pytest.mark.needs("root")
UID = 64991


@pytest.fixture
def another(tmp_path: Path) -> Path:
    """What only the agent may read."""
    folder = tmp_path / "another"
    (folder / "workspaces" / "web").mkdir(parents=True)
    (folder / "workspaces" / "web" / "terraform.tfstate").write_text(json.dumps(SECRET))
    (folder / "errored.tfstate").write_text(json.dumps(SECRET))
    (folder / "script.json").write_text("{}")
    return folder


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="terrapod-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


async def ended(server: AgentServer, data: Path, record: PhaseRecord) -> PhaseRecord:
    server.add(record)
    async with running(quick(data, server)):
        await server.until(lambda: record.ended)
    return record


async def test_a_link_in_the_place_of_the_states_brings_no_state_of_another(
    server: AgentServer, data: Path, another: Path
) -> None:
    swap = ["shell", f"mv ../state ../was && ln -s {another} ../state && sleep 0.3"]
    apply = await ended(server, data, apply_phase(script(apply=[swap])))
    assert apply.states == []
    assert not apply.reports[-1].state_uploaded


async def test_a_link_in_the_place_of_the_tree_brings_no_emergency_state_of_another(
    server: AgentServer, data: Path, another: Path
) -> None:
    swap = ["shell", f"mv ../tree ../was && ln -s {another} ../tree"]
    apply = await ended(server, data, apply_phase(script(apply=[swap, ["exit", 1]])))
    assert apply.status == "errored"
    assert not any(b"of another run" in content for content, _ in apply.states)


@pytest.mark.parametrize("when", ["init", "plan", "show"])
async def test_a_link_in_the_place_of_the_tree_is_not_carried_to_the_apply(
    server: AgentServer, data: Path, another: Path, when: str
) -> None:
    swap = ["shell", f"mv ../tree ../was && ln -s {another} ../tree"]
    plan = await ended(server, data, phase("plan", script(**{when: [swap]})))
    assert plan.status == "errored"
    assert "in the place of its" in plan.text
    assert wire.CREATED_FILES not in plan.artifacts


def test_a_link_where_the_other_plan_goes_is_not_written_through(tmp_path: Path) -> None:
    aim = tmp_path / "of the system"
    aim.write_text("as it was")
    path = saved(tmp_path / "p", change(1) + field(13, LOCAL))
    (tmp_path / "g").symlink_to(aim)
    assert not plan_file.replace_backend(path, field(13, CLOUD), tmp_path / "g")
    assert aim.read_text() == "as it was"


@pytest.mark.parametrize("made", ["pipe", "link"])
def test_a_plan_that_is_no_file_is_neither_waited_for_nor_followed(
    tmp_path: Path, made: str
) -> None:
    whole = saved(tmp_path / "whole", change(1) + field(13, LOCAL))
    path = tmp_path / "p"
    if made == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(whole)
    assert plan_file.read_saved_plan(path) is None
    assert plan_file.backend_record(path) is None
    assert not plan_file.replace_backend(path, field(13, CLOUD), tmp_path / "g")


def test_a_small_plan_of_endless_fields_takes_no_memory(tmp_path: Path) -> None:
    path = saved(tmp_path / "p", field(2, 0) * 1_100_000 + field(13, LOCAL))
    assert plan_file.read_saved_plan(path) is None


async def test_a_state_larger_than_any_is_not_read(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    blow_up = ["shell", "truncate -s 1T ../state/workspaces/web/terraform.tfstate && sleep 0.3"]
    apply = await ended(server, data, apply_phase(script(apply=[["state", 1], blow_up])))
    assert apply.status == "applied"
    assert "more than the" in apply.reports[-1].state_trouble
    assert not apply.reports[-1].state_uploaded


def test_a_log_that_looks_like_a_state_is_read_no_further_than_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'said\n{\n  "version": 4,\n  "terraform_version": "')
    os.truncate(path, 10**12)
    began = time.monotonic()
    log = MaskedLog(path, [], 1000, hidden=1_000_000)
    log.advance_to(len(log.peek(final=True)))
    assert log.offset < 200
    assert path.stat().st_size == 1_001_000
    assert time.monotonic() - began < 5


def test_states_that_nest_without_end_are_no_states() -> None:
    deep = b'{"version":4,"serial":1,"lineage":"l","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert not is_state(deep)
    deep = deep.replace(b'"x"', b'"resources"')
    assert count_changes(deep, deep).additions == 0


def test_a_state_of_countless_values_is_not_counted() -> None:
    countless = b'{"version":4,"resources":[' + b'{"mode":"managed"},' * 5_000_000 + b"{}]}"
    assert count_values(countless) > 10_000_000
    assert count_changes(b"", countless) == Counts()


@pytest.mark.parametrize("name", [".terraform.lock.hcl", "../plan.tfplan"])
async def test_a_file_that_is_nearly_all_hole_is_not_read(
    server: AgentServer, data: Path, name: str
) -> None:
    blow_up = ["shell", f"truncate -s 8T {name}"]
    plan = await ended(server, data, phase("plan", script(show=[blow_up])))
    assert plan.status == "errored"
    assert "more than the 1073741824 that are sent" in plan.text


def test_a_shown_plan_of_countless_objects_is_refused(tmp_path: Path) -> None:
    shown = tmp_path / "plan.json"
    shown.write_bytes(b'{"resource_changes":[' + b"{}," * 10_000_000 + b"{}]}")
    with pytest.raises(OperationFailed, match="more than the 10000000 objects"):
        _read_plan_json(shown, [])


async def test_a_state_that_nests_without_end_is_told_and_the_agent_goes_on(
    server: AgentServer, data: Path
) -> None:
    path, text = "../state/workspaces/web/terraform.tfstate", '{"version":4,"serial":1,"x":'
    program = f"open({path!r}, 'w').write({text!r} + '[' * 100_000)"
    (data.parent / "write.py").write_text(program)
    shell = f"{sys.executable} -SE {data.parent}/write.py && sleep 0.3"
    apply = server.add(apply_phase(script(apply=[["shell", shell], ["exit", 1]])))
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
        after = server.add(phase("plan", script(), phase_id="plan-2", run_id="run-2"))
        await server.until(lambda: after.ended)
    assert (apply.status, after.status) == ("errored", "planned")
    assert "cut off in writing" in apply.reports[-1].state_trouble


async def test_a_leftover_that_fails_does_not_keep_the_others(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"]]
    apply = server.add(apply_phase(script(apply=steps)))
    process.start()
    await server.until((tmp_path / "up").exists)
    process.send(signal.SIGKILL)
    await process.ended()
    poison, _ = _apply(data / "phases", name="apply-0.1")
    (poison.path / "place").unlink()  # as a full disk may leave it
    os.utime(poison.path, (1, 1))
    process.start()
    await server.until(lambda: apply.ended)
    assert poison.path.exists()


async def test_a_tree_of_any_depth_is_removed(server: AgentServer, data: Path) -> None:
    program = data.parent / "deep.py"
    program.write_text(
        "import os\nfor n in range(3000):\n"
        "    os.mkdir('d'); open('f', 'w').close(); os.symlink('/', 'l'); os.chdir('d')\n"
    )
    deep = ["shell", f"mkdir ../home/d && cd ../home/d && {sys.executable} -SE {program}"]
    plan = server.add(phase("plan", script(plan=[deep])))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
        await server.until(lambda: not list((data / "phases").iterdir()))
    assert plan.status == "planned"
    assert [path.name for path in (data.parent / "runs").iterdir()] == [".lock"]


@AS_ROOT
def test_folders_that_are_closed_are_removed_by_their_owner(open_to_all: Path) -> None:
    """As Go leaves those of its modules."""
    os.seteuid(UID)
    try:
        (open_to_all / "place" / "closed" / "inner").mkdir(parents=True)
        (open_to_all / "place" / "closed" / "inner" / "file").touch()
        for name in ("place/closed/inner", "place/closed", "place"):
            (open_to_all / name).chmod(0)
        files.remove_tree(open_to_all / "place")
        assert not (open_to_all / "place").exists()
    finally:
        os.seteuid(0)


def test_what_is_removed_is_not_left_by_links(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "l").symlink_to(tmp_path / "kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    files.remove_tree(tmp_path / "place")
    files.remove_tree(tmp_path / "link")
    assert not (tmp_path / "place").exists()
    assert (tmp_path / "kept" / "file").exists()


def test_a_file_with_a_second_name_is_not_rewritten(tmp_path: Path) -> None:
    (tmp_path / "of the system").write_text("as it was")
    os.link(tmp_path / "of the system", tmp_path / "terraform.rc")
    with pytest.raises(OSError, match="not a file that can be written"):
        files.overwrite(tmp_path / "terraform.rc", b"x")
    orders = {"folder": str(tmp_path), "into": str(tmp_path / "terraform.rc"), "config": "x"}
    (tmp_path / "orders").write_text(json.dumps(orders))
    server = (*python_program.command_line(state_server.__name__), str(tmp_path / "orders"))
    assert subprocess.run(server, check=False, timeout=20, stdin=subprocess.DEVNULL).returncode == 1
    assert (tmp_path / "of the system").read_text() == "as it was"


def _apply(
    phases: Path, *, name: str = "phase", state_limit: int = 1000
) -> tuple[PhaseFolder, Ticket]:
    folder = PhaseFolder(phases / name)
    folder.path.mkdir()
    (folder.path / "place").write_text(str(phases / "runs" / "run-9"))
    ticket = Ticket(
        run_id="run-9",
        phase_id=name.partition(".")[0],
        kind="apply",
        fence=1,
        workspace="default",
        working_directory="",
        log_limit=1000,
        state_limit=state_limit,
        started=True,
    )
    folder.save_ticket(ticket)
    return folder, ticket
