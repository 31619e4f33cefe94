"""What a configuration can see of its place, with real terraforms: the same in plan and apply."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from terrapod_common import wire
from tests.kit.agent_records import PhaseRecord
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_of, phase, quick, running
from tests.kit.terraforms import TERRAFORMS, terraforms

pytestmark = pytest.mark.anyio

SEES = """
locals {
  # The provider folder is terraform's own, and links into a cache.
  files = sort([for f in fileset(path.module, "**") : f if !startswith(f, ".terraform/providers")])
}
resource "terraform_data" "place" {
  input = "${path.cwd} ${abspath(path.module)} ${pathexpand("~")} ${terraform.workspace}"
}
resource "terraform_data" "json" {
  for_each = fileset(path.module, "*.json")
  input    = filesha256(each.value)
}
resource "terraform_data" "all" {
  input = sha256(join(",", [for f in local.files : "${f} ${filesha256(f)}"]))
}
output "files" { value = local.files }
output "hash" { value = terraform_data.all.output }
output "place" { value = terraform_data.place.output }
output "json" { value = keys(terraform_data.json) }
"""


class Job:
    """Plans and applies with one terraform, each by an agent of its own."""

    def __init__(self, server: AgentServer, folder: Path, version: str) -> None:
        self.server = server
        self.folder = folder
        self.version = version
        self._agents = 0

    async def through(self, record: PhaseRecord) -> PhaseRecord:
        """One phase to its end, on an agent that has not been there before."""
        self._agents += 1
        data = self.folder / f"agent-{self._agents}"
        async with running(quick(data, self.server, name=data.name)):
            self.server.add(record)
            await self.server.until(lambda: record.ended, 60)
            await self.server.until(lambda: not list((data / "phases").iterdir()))
        return record

    async def plan(self, files: dict[str, str | bytes], **changes: Any) -> PhaseRecord:
        """A plan that went well."""
        tool = wire.Tool(name="terraform", version=self.version)
        plan = await self.through(phase("plan", files, tool=tool, **changes))
        assert plan.status == "planned", plan.text
        return plan

    async def apply(self, plan: PhaseRecord, **changes: Any) -> dict[str, Any]:
        """The outputs of its apply."""
        changes = {"working_directory": plan.work.working_directory, **changes}
        apply = await self.through(apply_of(plan, tool=plan.work.tool, state=plan.state, **changes))
        assert apply.status == "applied", apply.text
        outputs = json.loads(apply.states[-1][0])["outputs"]
        return {name: output["value"] for name, output in outputs.items()}


@pytest.fixture(params=TERRAFORMS)
def job(server: AgentServer, tmp_path: Path, request: pytest.FixtureRequest) -> Job:
    version, path = terraforms(tmp_path / "tool")[request.param]
    server.tools[f"terraform/{version}"] = path.read_bytes()
    return Job(server, tmp_path, version)


async def test_the_place_of_a_run_is_part_of_what_was_approved(job: Job, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"sub/dir/main.tf": SEES, "sub/dir/a.json": "{}"}
    plan = await job.plan(files, working_directory="sub/dir")
    outputs = await job.apply(plan)
    run = tmp_path / "runs" / "run-1"
    assert outputs["place"] == f"{run}/tree/sub/dir {run}/tree/sub/dir {run}/home web"
    assert outputs["json"] == ["a.json"]
    assert set(outputs["files"]) == {
        *(".terraform/terraform.tfstate", "a.json", "main.tf", "zzzz_terrapod_override.tf")
    }


async def test_a_hash_over_the_folder_is_the_same_in_every_run(job: Job) -> None:
    variables = [wire.RunVariable(key="a", value="1")]
    hashes = []
    for run_id, value in (("run-1", "1"), ("run-2", "2")):
        variables = [wire.RunVariable(key="a", value=value)]
        files: dict[str, str | bytes] = {"main.tf": SEES + 'variable "a" {}\n'}
        plan = await job.plan(files, run_id=run_id, variables=variables)
        outputs = await job.apply(plan, run_id=run_id)
        hashes.append(outputs["hash"])
        job.server.phases.clear()
    assert hashes[0] == hashes[1]


@pytest.mark.needs("git")
async def test_the_modules_of_the_plan_are_those_of_the_apply(job: Job, tmp_path: Path) -> None:
    module = tmp_path / "module"
    module.mkdir()
    (module / "main.tf").write_text(
        'output "text" { value = terraform_data.a.output }\n'
        'resource "terraform_data" "a" {\n'
        '  input = templatefile("${path.module}/text.tpl", {})\n}\n'
    )
    (module / "text.tpl").write_text("as it was planned")
    (module / "outside").symlink_to("/etc/hostname")  # is left out, and harms nobody
    commit(module, "init", "-q")
    call = f'module "m" {{\n  source = "git::file://{module}"\n}}\n'
    call += 'output "text" { value = module.m.text }\n'
    plan = await job.plan({"main.tf": call})
    (module / "text.tpl").write_text("as it is now")
    commit(module)
    assert (await job.apply(plan))["text"] == "as it was planned"


def commit(folder: Path, *first: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in ([*first], ["add", "-A"], [*who, "commit", "-qm", "a"]):
        if arguments:
            subprocess.run(["git", *arguments], cwd=folder, check=True)


VALUES = {
    "newline_first": ("\n{\n  a = 1\n}", {"a": 1}),
    "broken_anywhere": ("1 +\n2", 3),
    "comment": ("[1, # one\n2] # two", [1, 2]),
    "heredoc": ("<<EOT\nline\nEOT", "line\n"),
    "object": ('{\n  a = "x"\n  b = [true, null]\n}', {"a": "x", "b": [True, None]}),
    "null": ("null", None),
    "template": ('"a${1 + 1}"', "a2"),
    "number": ("1.50", 1.5),
}


async def test_every_expression_is_a_value_and_beats_the_repositorys_own(job: Job) -> None:
    variables = [
        wire.RunVariable(key=key, value=value, hcl=True) for key, (value, _) in VALUES.items()
    ]
    variables.append(wire.RunVariable(key="plain", value='${a}\n"%{if}"\\'))
    names = [*VALUES, "plain"]
    main = "".join(f'variable "{name}" {{ nullable = true }}\n' for name in names)
    main += 'resource "terraform_data" "a" {}\n'
    main += "".join(f'output "{name}" {{ value = var.{name} }}\n' for name in names)
    theirs = "".join(f'{name} = "theirs"\n' for name in names)
    files: dict[str, str | bytes] = {"main.tf": main, "~~.auto.tfvars": theirs}
    plan = await job.plan(files, variables=variables)
    outputs = await job.apply(plan)
    expected = {key: value for key, (_, value) in VALUES.items() if value is not None}
    assert {**outputs, "plain": None} == {**expected, "plain": None}
    assert outputs["plain"] == '${a}\n"%{if}"\\'


async def test_an_apply_gets_the_ephemeral_values_again(job: Job) -> None:
    variables = [
        wire.RunVariable(key="once", value="only-for-now", sensitive=True),
        wire.RunVariable(key="list", value='["a", 1]', hcl=True),
    ]
    main = (
        'variable "once" {\n  type = string\n  ephemeral = true\n}\n'
        'variable "list" { type = list(string) }\n'
        'resource "terraform_data" "a" {\n  input = var.list\n'
        '  provisioner "local-exec" {\n'
        '    command = "test $VALUE = only-for-now"\n'
        "    environment = { VALUE = var.once }\n  }\n}\n"
        'output "list" { value = var.list }\n'
    )
    plan = await job.plan({"main.tf": main}, variables=variables)
    assert (await job.apply(plan))["list"] == ["a", "1"]
