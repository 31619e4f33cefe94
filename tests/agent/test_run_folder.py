"""Where runs execute: one folder for a run, whatever else is or was on the machine."""

import os
import signal
import time
from pathlib import Path

import anyio
import pytest

from terrapod_agent.errors import OperationFailed
from terrapod_agent.work import run_folder
from terrapod_agent.work.run_folder import RunFolder
from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, apply_of, phase, quick, running
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio


def owner(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "phases" / name
    path.mkdir(parents=True)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return run_folder.usable_root(tmp_path / "below" / "runs", tmp_path / "other")


def test_a_root_lets_others_through_and_shows_them_nothing(root: Path, tmp_path: Path) -> None:
    assert root == tmp_path / "below" / "runs"
    assert [path.stat().st_mode & 0o777 for path in (root, root.parent)] == [0o711, 0o711]
    taken = RunFolder(root, "run-1", owner(tmp_path, "plan-1.1")).acquire()
    assert (taken, taken.stat().st_mode & 0o777) == (root / "run-1", 0o700)


def test_what_cannot_be_made_is_replaced_by_a_folder_of_the_agent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert run_folder.usable_root(tmp_path / "file" / "runs", tmp_path / "own") == tmp_path / "own"
    with pytest.raises(OperationFailed, match="neither"):
        run_folder.usable_root(tmp_path / "file" / "runs", tmp_path / "file" / "own")


def test_a_foreign_folder_of_the_run_is_put_aside_where_its_owner_finds_it(
    root: Path, tmp_path: Path
) -> None:
    first = RunFolder(root, "run-1", owner(tmp_path, "apply-1.1"))
    second = RunFolder(root, "run-1", owner(tmp_path, "apply-1.2"))
    (first.acquire() / "state").write_text("of the first")
    assert first.other_owner is None
    assert second.other_owner == tmp_path / "phases" / "apply-1.1"
    (second.acquire() / "state").write_text("of the second")
    assert (first.path / "state").read_text() == "of the first"
    assert (second.path / "state").read_text() == "of the second"
    first.release()
    assert not first.path.exists()
    assert (second.path / "state").read_text() == "of the second"
    second.release()
    assert sorted(path.name for path in root.iterdir()) == [".lock"]


def test_a_folder_that_nobody_owns_is_put_aside_too(root: Path, tmp_path: Path) -> None:
    (root / "run-1" / "tree").mkdir(parents=True)
    taken = RunFolder(root, "run-1", owner(tmp_path, "plan-1.1")).acquire()
    assert not list(taken.iterdir())
    assert (root / "run-1.unknown.0" / "tree").is_dir()


def test_only_what_nobody_needs_is_swept(root: Path, tmp_path: Path) -> None:
    names = ("gone-1.1", "needed-1.1", "young-1.1")
    owners = {name: owner(tmp_path, name) for name in names}
    for name, path in owners.items():
        taken = RunFolder(root, f"run-{name[:4]}", path).acquire()
        if name != "young-1.1":
            os.utime(taken, (time.time() - 4000,) * 2)
    for name in ("gone-1.1", "young-1.1"):
        owners[name].rmdir()
    run_folder.remove_abandoned(root)
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["run-need", "run-youn"]


@pytest.mark.parametrize("name", ["", "..", ".lock", "a/b"])
def test_a_name_that_is_none_of_a_run_has_no_place(root: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(OperationFailed, match="no name of a run"):
        RunFolder(root, name, tmp_path)


async def test_a_second_agent_of_the_machine_waits_for_the_first_ones_terraform(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    """The first is slow to learn that it has lost the phase; its terraform works in the place."""
    server.every = 0.1
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"]]
    plan = server.add(phase("plan", script(plan=steps)))
    async with anyio.create_task_group(), running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        again = phase("plan", script(plan=[["print", "second"]]), fence=2)
        plan.fence = 2
        server.phases["plan-1"] = again
        async with running(quick(tmp_path / "agent-2", server, name="agent-2")):
            server.waiting.append("plan-1")
            await server.until(lambda: again.ended)
    assert again.status == "planned", again.text
    assert "second" in again.text


async def test_a_plan_that_another_agent_takes_over_has_the_same_paths(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    """What the dead agent has left lies in the place, and must not push the second one aside."""
    seen = [["arguments"], ["shell", "pwd"]]
    first = server.add(phase("plan", script(plan=[*seen, ["wait", f"{tmp_path}/never"]])))
    run = tmp_path / "runs" / "run-1"
    paths = (f"-out={run}/plan.tfplan", f"-var-file={run}/variables.tfvars", f"\n{run}/tree\n")
    process.start()
    await server.until(lambda: all(path in first.text for path in paths))
    process.send(signal.SIGKILL)
    await process.ended()
    assert (run / "tree").is_dir()
    again = phase("plan", script(plan=seen), fence=2)
    server.phases["plan-1"] = again
    server.waiting.append("plan-1")
    async with running(quick(tmp_path / "agent-2", server, name="agent-2")):
        await server.until(lambda: again.ended)
    assert again.status == "planned", again.text
    assert [path for path in paths if path not in again.text] == []


async def test_the_place_of_a_run_is_the_same_in_both_phases_and_goes_with_them(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    steps = script(plan=[["arguments"], ["write", "made", "x"]], apply=[["arguments"]])
    async with running(quick(data, server)):
        plan = server.add(phase("plan", steps))
        await server.until(lambda: plan.ended and not list((data / "phases").iterdir()))
    async with running(quick(tmp_path / "agent-2", server, name="agent-2")):
        apply = server.add(apply_of(plan))
        await server.until(lambda: apply.ended)
        await server.until(lambda: not list((tmp_path / "agent-2" / "phases").iterdir()))
    runs = tmp_path / "runs"
    assert f"-out={runs}/run-1/plan.tfplan" in plan.text
    assert f"apply -input=false -var-file={runs}/run-1/variables.tfvars {runs}/run-1/plan" in (
        apply.text
    )
    assert apply.status == "applied"
    assert [path.name for path in runs.iterdir()] == [".lock"]
    assert server.roots == {str(runs)}


async def test_override_files_that_would_win_are_refused(server: AgentServer, data: Path) -> None:
    names = {
        "zzzz_terrapod_override.tf": "a name that is Terrapod's own",
        "zzzz_terrapod_override.tofu": "sorts after zzzz_terrapod_override.tf",
        "~_override.tf": "sorts after",
        "\U0010ffff_override.tf": "sorts after",
        "zzzzz_override.tf.json": "sorts after",
    }
    plans = {}
    async with running(quick(data, server)):
        for number, name in enumerate(names):
            files = {**script(), name: ""}
            plans[name] = server.add(phase("plan", files, phase_id=f"plan-{number}"))
            await server.until(lambda name=name: plans[name].ended)  # type: ignore[misc]
    for name, said in names.items():
        assert plans[name].status == "errored"
        assert said in plans[name].reports[-1].message


async def test_files_that_come_before_ours_are_left_alone(server: AgentServer, data: Path) -> None:
    names = ("override.tf", "zz_override.tf", "Z_override.tf.json", "errored.tfstate")
    steps = script(plan=[["wait", name] for name in names])
    plan = server.add(phase("plan", {**steps, **dict.fromkeys(names, "")}))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
    assert plan.status == "planned"
    assert wire.CREATED_FILES not in plan.artifacts
