"""Applies whose state is kept by snapshots, with real terraforms, and when they are cut off."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from terrapod_agent.work import plan_file
from terrapod_common import wire
from terrapod_common.overrides import OVERRIDE
from tests.agent.test_real_run_folders import Job
from tests.kit.agent_records import PhaseRecord
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, apply_of, phase, quick, running
from tests.kit.scripted_terraform import alive, parent
from tests.kit.terraforms import TERRAFORMS, terraforms

pytestmark = pytest.mark.anyio

# So many bytes that a file is too slow, and few enough objects for a quick test.
LARGE = """
variable "text" { default = "a" }
resource "terraform_data" "large" {
  count = 80
  input = "${var.text}${format("%020000d", count.index)}"
}
output "hash" { value = sha256(join(",", terraform_data.large[*].output)) }
"""
WAITS = """
resource "terraform_data" "waits" {
  depends_on = [terraform_data.large]
  provisioner "local-exec" {
    command = "printf %s $$ > FOLDER/pid; while [ ! -e FOLDER/go ]; do sleep 0.05; done"
  }
}
"""

PAUSE = """
resource "terraform_data" "pause" {
  depends_on = [terraform_data.large]
  provisioner "local-exec" { command = "sleep 21" }
}
"""


@pytest.fixture(params=TERRAFORMS)
def job(server: AgentServer, tmp_path: Path, request: pytest.FixtureRequest) -> Job:
    version, path = terraforms(tmp_path / "tool")[request.param]
    server.tools[f"terraform/{version}"] = path.read_bytes()
    return Job(server, tmp_path, version)


def backend(plan: PhaseRecord, tmp_path: Path) -> str:
    (tmp_path / "saved").write_bytes(plan.artifacts[wire.PLAN_FILE])
    found = plan_file.read_saved_plan(tmp_path / "saved")
    assert found is not None
    return found.backend


async def test_large_states_are_kept_by_snapshots_and_small_changes_in_a_file(
    job: Job, tmp_path: Path
) -> None:
    files: dict[str, str | bytes] = {"main.tf": LARGE}
    created = await job.plan(files)
    assert backend(created, tmp_path) == "cloud"
    assert json.loads(created.artifacts[wire.PLAN_JSON])["planned_values"]
    outputs = await job.apply(created)
    state = job.server.phases["apply-1"].states[-1][0]
    assert len(json.loads(state)["resources"][0]["instances"]) == 80

    one = {"main.tf": LARGE.replace("count = 80", "count = 81")}
    job.server.phases.clear()
    changed = await job.plan(one, state=state, has_state=True)  # type: ignore[arg-type]
    assert backend(changed, tmp_path) == "local"
    other = await job.apply(changed, has_state=True)
    assert other["hash"] != outputs["hash"]
    state = job.server.phases["apply-1"].states[-1][0]

    job.server.phases.clear()
    flags = wire.Flags(destroy=True)
    gone = await job.plan(one, state=state, has_state=True, flags=flags)  # type: ignore[arg-type]
    assert backend(gone, tmp_path) == "cloud"
    assert await job.apply(gone, has_state=True) == {}
    assert json.loads(job.server.phases["apply-1"].states[-1][0])["resources"] == []


async def test_what_an_apply_sees_does_not_depend_on_how_its_state_is_kept(
    job: Job, tmp_path: Path
) -> None:
    """The same bytes of configuration: a variable makes the state large or small."""
    seen = (
        LARGE.replace("count = 80", "count = var.count_of") + 'variable "count_of" {}\n'
        'resource "terraform_data" "sees" {\n'
        '  input = join("\\n", [for f in fileset(path.module, "**") :\n'
        '    "${f} ${filesha256(f)}" if !startswith(f, ".terraform/providers")])\n}\n'
        'output "seen" { value = terraform_data.sees.output }\n'
        'output "where" { value = "${terraform.workspace} ${path.cwd}" }\n'
    )
    found = {}
    for kept, count in (("cloud", "80"), ("local", "10")):
        variables = [wire.RunVariable(key="count_of", value=count)]
        plan = await job.plan({"main.tf": seen, "a/b.txt": "b"}, variables=variables)
        assert backend(plan, tmp_path) == kept
        outputs = await job.apply(plan)
        found[kept] = (outputs["where"], outputs["seen"])
        job.server.phases.clear()
    assert found["cloud"] == found["local"]
    assert {name.split()[0] for name in found["cloud"][1].splitlines()} >= {
        "main.tf",
        "a/b.txt",
        OVERRIDE,
    }


async def applying(server: AgentServer, tmp_path: Path, main: str) -> PhaseRecord:
    """An apply that is queued behind its plan, which has ended."""
    server.tools["terraform/1.15.5"] = terraforms(tmp_path / "tool")["ours"][1].read_bytes()
    files: dict[str, str | bytes] = {"main.tf": main.replace("FOLDER", str(tmp_path))}
    async with running(quick(tmp_path / "planner", server, name="planner")):
        plan = server.add(phase("plan", files))
        await server.until(lambda: plan.ended, 60)
        assert plan.status == "planned", plan.text
        await server.until(lambda: not list((tmp_path / "planner" / "phases").iterdir()))
    assert backend(plan, tmp_path) == "cloud"
    return server.add(apply_of(plan))


def made(record: Any) -> int:
    content = record.states[-1][0]
    large = [r for r in json.loads(content)["resources"] if r["name"] == "large"]
    return len(large[0]["instances"])


async def test_a_killed_agent_leaves_the_server_to_terraform_which_saves_all(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    apply = await applying(server, tmp_path, LARGE + WAITS)
    process.start()
    await server.until((tmp_path / "pid").exists, 60)
    process.send(signal.SIGKILL)
    await process.ended()
    process.start()
    await server.until(lambda: apply.ended, 60)
    assert apply.status == "errored"
    assert apply.reports[-1].state_uploaded
    assert made(apply) == 80


async def test_agent_and_shim_killed_at_once_lose_nothing_either(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    apply = await applying(server, tmp_path, LARGE + WAITS)
    process.start()
    await server.until((tmp_path / "pid").exists, 60)
    process.send(signal.SIGKILL)
    (tmp_path / "up").write_text(str(parent(tmp_path / "pid")))  # terraform
    os.kill(parent(tmp_path / "up"), signal.SIGKILL)
    await process.ended()
    await server.until(lambda: not alive(tmp_path / "up"), 60)
    process.start()
    await server.until(lambda: apply.ended, 60)
    assert made(apply) == 80


async def test_a_canceled_apply_saves_all(server: AgentServer, data: Path, tmp_path: Path) -> None:
    apply = await applying(server, tmp_path, LARGE + WAITS)
    async with running(quick(data, server)):
        await server.until((tmp_path / "pid").exists, 60)
        server.order(apply, "cancel")
        await server.until(lambda: apply.ended, 60)
    assert apply.status == "canceled"
    assert made(apply) == 80


@pytest.mark.timeout(120)
async def test_a_killed_terraform_leaves_its_last_snapshot(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    """A change makes a snapshot when the one before is 20 seconds old."""
    waits = WAITS.replace("terraform_data.large", "terraform_data.pause")
    apply = await applying(server, tmp_path, LARGE + PAUSE + waits)
    async with running(quick(data, server)):
        await server.until(lambda: apply.states and (tmp_path / "pid").exists(), 90)
        snapshot = apply.states[-1][0]
        os.kill(parent(tmp_path / "pid"), signal.SIGKILL)
        (tmp_path / "go").touch()
        await server.until(lambda: apply.ended, 60)
    last = apply.reports[-1]
    assert (last.status, last.hard, last.state_uploaded) == ("errored", True, True)
    assert "signal 9" in last.message
    content, final = apply.states[-1]
    assert final
    before, after = json.loads(snapshot), json.loads(content)
    assert after["serial"] >= before["serial"] > 0
    assert after["lineage"] == before["lineage"]
    names = [one["name"] for one in after["resources"]]
    assert set(names) >= {one["name"] for one in before["resources"]} >= {"large", "pause"}
    assert made(apply) == 80


async def test_a_terraform_that_is_killed_before_its_first_snapshot_leaves_the_state_before(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    apply = await applying(server, tmp_path, LARGE + WAITS)
    async with running(quick(data, server)):
        await server.until((tmp_path / "pid").exists, 60)
        os.kill(parent(tmp_path / "pid"), signal.SIGKILL)
        (tmp_path / "go").touch()
        await server.until(lambda: apply.ended, 60)
    last = apply.reports[-1]
    assert (last.status, last.hard) == ("errored", True)
    assert "signal 9" in last.message
    assert apply.states == []


async def test_a_large_apply_in_a_folder_of_its_own_gets_ephemeral_values_again(
    job: Job, tmp_path: Path
) -> None:
    main = LARGE + (
        'variable "once" {\n  type = string\n  ephemeral = true\n}\n'
        'resource "terraform_data" "asks" {\n'
        '  provisioner "local-exec" {\n    command = "test $VALUE = only-for-now"\n'
        "    environment = { VALUE = var.once }\n  }\n}\n"
        'output "where" { value = "${path.cwd} ${terraform.workspace}" }\n'
    )
    variables = [
        wire.RunVariable(key="once", value="only-for-now", sensitive=True),
        wire.RunVariable(key="text", value="of the workspace"),
        wire.RunVariable(key="text", value='"of the run"', hcl=True),
    ]
    files: dict[str, str | bytes] = {
        "sub/dir/main.tf": main,
        "sub/dir/a.auto.tfvars": 'text = "of the file"',
    }
    plan = await job.plan(files, variables=variables, working_directory="sub/dir")
    assert backend(plan, tmp_path) == "cloud"
    outputs = await job.apply(plan)
    assert outputs["where"] == f"{tmp_path}/runs/run-1/tree/sub/dir web"
    state = json.loads(job.server.phases["apply-1"].states[-1][0])
    [large] = [one for one in state["resources"] if one["name"] == "large"]
    assert large["instances"][0]["attributes"]["input"]["value"].startswith("of the run0")
