"""What a plan is asked for and what it tells of its variables, with a real terraform."""

from pathlib import Path

import pytest

from terrapod_agent.work import terraform
from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import phase, quick, running
from tests.kit.terraforms import real_terraform

pytestmark = pytest.mark.anyio

MAIN = """
variable "plain" { type = string }
variable "secret" {
  type      = string
  sensitive = true
}
variable "other" { default = "x" }
resource "terraform_data" "one" { input = var.plain }
"""
GIVEN = [wire.RunVariable(key=key, value='"v"', hcl=True) for key in ("plain", "secret", "unknown")]


@pytest.fixture
def tool(server: AgentServer, tmp_path: Path) -> None:
    content = real_terraform(tmp_path / "tool").read_bytes()
    server.tools["terraform/1.15.5"] = content


async def test_a_plan_tells_which_of_its_variables_anybody_may_see(
    server: AgentServer, tmp_path: Path, tool: None
) -> None:
    async with running(quick(tmp_path / "agent", server)):
        plan = server.add(phase("plan", {"main.tf": MAIN}, variables=GIVEN))
        await server.until(lambda: plan.ended)
    assert plan.status == "planned", plan.text
    assert plan.reports[-1].plain_variables == ["plain"]


async def test_an_action_reaches_terraform(server: AgentServer, tmp_path: Path, tool: None) -> None:
    """Once it was dropped: the plan was one of a refresh and found nothing to do."""
    flags = wire.Flags(refresh_only=True, invokes=["action.local_command.greet"])
    async with running(quick(tmp_path / "agent", server)):
        plan = server.add(phase("plan", {"main.tf": ""}, flags=flags))
        await server.until(lambda: plan.ended)
    assert plan.status == "errored", plan.text
    assert "action.local_command.greet does not exist" in " ".join(plan.text.split())


@pytest.mark.parametrize("document", [b"{}", b'{"configuration": {"root_module": {}}}'])
def test_a_plan_may_have_no_variables(document: bytes) -> None:
    assert terraform.plain_variables(document) == set()
