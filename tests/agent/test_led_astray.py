"""What a run puts into its place leads its agent nowhere, and has no size that hurts it.

The agent may read more than the run: what it is led to would come back to the run as its own.
"""

import json
import os
import zipfile
from pathlib import Path

import anyio
import pytest

from terrapod_agent.work import plan_file
from terrapod_common import files, wire
from tests.agent.test_plan_file import LOCAL, field, saved
from tests.kit.agent_records import PhaseRecord
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

STATE = {"version": 4, "serial": 7, "lineage": "other", "outputs": {}, "resources": []}


async def ended(server: AgentServer, data: Path, record: PhaseRecord) -> PhaseRecord:
    async with running(quick(data, server)):
        server.add(record)
        await server.until(lambda: record.ended)
    return record


async def test_a_link_in_the_place_of_the_tree_is_not_packed(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("of the agent")
    (secret / "script.json").write_text("{}")
    steps = [["python", f"os.rename('../tree', '../old'); os.symlink({str(secret)!r}, '../tree')"]]
    plan = await ended(server, data, phase("plan", script(plan=steps)))
    assert plan.status == "errored"
    assert "in the place of its own folders" in plan.reports[-1].message
    assert wire.CREATED_FILES not in plan.artifacts


@pytest.mark.parametrize("folder", ["state", "state/workspaces", "state/workspaces/web"])
async def test_the_state_of_another_run_is_not_taken_for_this_one_s(
    server: AgentServer, data: Path, tmp_path: Path, folder: str
) -> None:
    there = tmp_path / "other" / "state" / "workspaces" / "web"
    there.mkdir(parents=True)
    (there / "terraform.tfstate").write_text(json.dumps(STATE))
    other = str(tmp_path / "other" / folder)
    change = f"os.rename('../{folder}', '../old'); os.symlink({other!r}, '../{folder}')"
    apply = apply_phase(script(apply=[["python", change], ["wait", "go"]]))
    async with running(quick(data, server)):
        server.add(apply)
        tree = tmp_path / "runs" / "run-1" / "tree"
        await server.until((tree.parent / "old").exists)
        await anyio.sleep(0.2)  # for the one who looks for states meanwhile
        (tree / "go").touch()
        await server.until(lambda: apply.ended)
    assert apply.states == []
    assert apply.reports[-1].state_trouble == "something else is in the place of its folder"


@pytest.mark.parametrize("what", ["state", "'errored.tfstate'", "1"])
async def test_a_file_of_any_size_does_not_fill_the_memory_of_the_agent(
    server: AgentServer, data: Path, what: str
) -> None:
    make = "" if what == "1" else f"open({what}, 'a').close(); "
    steps = [["python", f"{make}os.truncate({what}, 1 << 42)"], ["exit", 1]]
    limits = wire.Limits(log_bytes=1000, state_bytes=100_000, state_every_seconds=0.1)
    apply = apply_phase(script(apply=steps), limits=limits)
    async with running(quick(data, server)):
        server.add(apply)
        await server.until(lambda: apply.ended)
        server.phases.clear()
        plan = server.add(phase("plan", script(), run_id="run-2"))
        await server.until(lambda: plan.ended)
    assert apply.status == "errored"
    assert apply.states == []
    assert plan.status == "planned"
    trouble = apply.reports[-1].state_trouble
    assert ("more than the 100000" in trouble) == (what == "state")


async def test_a_folder_of_any_depth_is_removed(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    deep = "\nfor _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\nos.chmod('..', 0o500)"
    apply = apply_phase(script(apply=[["python", deep]]))
    async with running(quick(data, server)):
        server.add(apply)
        await server.until(lambda: apply.ended)
        await server.until(lambda: not list((data / "phases").iterdir()))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".lock"]


def test_what_can_not_be_removed_is_left_and_nothing_outside_is_touched(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(tmp_path / "outside")
    (tree / "link").symlink_to(tmp_path / "outside" / "kept")
    os.mkfifo(tree / "a" / "b" / "pipe")
    files.remove_tree(tree)
    files.remove_tree(tmp_path / "not there")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["kept", "outside"]


def test_a_plan_is_written_nowhere_else(tmp_path: Path) -> None:
    saved(tmp_path / "plan", field(13, LOCAL))
    (tmp_path / "other").write_text("not ours to change")
    (tmp_path / "into").symlink_to(tmp_path / "other")
    record = plan_file.backend_record(tmp_path / "plan")
    assert record is not None
    assert not plan_file.replace_backend(tmp_path / "plan", record, tmp_path / "into")
    assert (tmp_path / "other").read_text() == "not ours to change"


def test_what_is_no_plan_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(saved(tmp_path / "plan", field(13, LOCAL)))
    for name in ("pipe", "link"):
        assert plan_file.read_saved_plan(tmp_path / name) is None
        assert plan_file.backend_record(tmp_path / name) is None


def test_a_plan_of_very_many_fields_is_not_held(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "plan", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tfplan", b"\x08\x01" * 1_000_001)
        archive.writestr("tfstate", b"{}")
    assert plan_file.read_saved_plan(tmp_path / "plan") is None
