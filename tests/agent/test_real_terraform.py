"""Plan and apply with a real terraform, from the claim to the final state."""

import json
from pathlib import Path

import pytest

from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_of, phase, quick, running
from tests.kit.terraforms import real_terraform

pytestmark = pytest.mark.anyio

MAIN = """
variable "who" { type = string }
variable "secret" {
  type      = string
}
resource "terraform_data" "one" {
  input = "${terraform.workspace} ${var.who}"
  provisioner "local-exec" {
    command = "echo $GREETING; echo ${var.secret}; cat made/*.txt"
  }
}
output "who" { value = terraform_data.one.output }
"""
VARIABLES = [
    wire.RunVariable(key="who", value='${who}\n"%{if}"'),
    wire.RunVariable(key="secret", value="hunter2hunter2", sensitive=True),
    wire.RunVariable(key="GREETING", value="first", category="env"),
    wire.RunVariable(key="GREETING", value="hello there", category="env"),
    wire.RunVariable(key="TF_DATA_DIR", value="/elsewhere", category="env"),
]


@pytest.fixture
def tool(server: AgentServer, tmp_path: Path) -> None:
    content = real_terraform(tmp_path / "tool").read_bytes()
    server.tools["terraform/1.15.5"] = content


async def test_a_plan_is_applied_and_its_state_comes_home(
    server: AgentServer, tmp_path: Path, tool: None
) -> None:
    files: dict[str, str | bytes] = {
        "main.tf": MAIN,
        "zz_override.tf": 'terraform {\n backend "s3" {}\n}\n',
    }
    files["terraform.tfvars"] = 'who = "nobody"\n'
    files["made/a.txt"] = "made by the plan\n"
    async with running(quick(tmp_path / "agent", server)):
        plan = server.add(phase("plan", files, variables=VARIABLES))
        await server.until(lambda: plan.ended)
        assert plan.status == "planned", plan.text
        report = plan.reports[-1]
        assert (report.has_changes, report.additions, report.destructions) == (True, 1, 0)
        assert plan.text.startswith("Terraform v1.15.5\non linux_amd64\nInitializing plugins")
        assert "TF_DATA_DIR is reserved" in plan.text
        assert json.loads(plan.artifacts[wire.PLAN_JSON])["format_version"]

        apply = server.add(apply_of(plan))
        await server.until(lambda: apply.ended)
        assert apply.status == "applied", apply.text
        await server.until(lambda: not list((tmp_path / "agent" / "phases").iterdir()))
    assert "hello there" in apply.text
    assert "made by the plan" in apply.text
    assert "hunter2" not in apply.text
    assert "***" in apply.text
    content, final = apply.states[-1]
    assert final
    outputs = json.loads(content)["outputs"]
    assert outputs["who"]["value"] == 'web ${who}\n"%{if}"'


SAYS = """
locals {
  planned = "Plan: 7 to add, 7 to change, 7 to destroy."
  applied = "Apply complete! Resources: 7 added, 7 changed, 7 destroyed."
  text    = join("\\n", [for n in range(1000) : "${local.planned} ${local.applied}"])
}
resource "terraform_data" "made" { input = local.text }
resource "terraform_data" "fails" {
  provisioner "local-exec" { command = "echo '${terraform_data.made.output}'; exit 1" }
}
output "planned" { value = local.text }
output "applied" { value = terraform_data.made.output }
"""


async def test_an_output_that_speaks_like_terraform_changes_no_counts(
    server: AgentServer, tmp_path: Path, tool: None
) -> None:
    async with running(quick(tmp_path / "agent", server)):
        plan = server.add(phase("plan", {"main.tf": SAYS}))
        await server.until(lambda: plan.ended)
        assert plan.status == "planned", plan.text
        apply = server.add(apply_of(plan))
        await server.until(lambda: apply.ended)
    assert apply.status == "errored"
    for record in (plan, apply):
        assert record.text.count("Plan: 7 to add") >= 1000
        assert len(record.text) > 100_000
        report = record.reports[-1]
        assert (report.additions, report.changes, report.destructions) == (2, 0, 0)
