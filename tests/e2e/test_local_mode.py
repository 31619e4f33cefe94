"""Execution mode local: terraform works here, the state lies on the server."""

import json
import re
from pathlib import Path

import pytest

from tests.e2e.conftest import NewCli, Terraform
from tests.kit.command_line import Backend, Cli
from tests.kit.stack import Server

pytestmark = pytest.mark.timeout(120)

MAIN = """
variable "who" { default = "world" }
resource "terraform_data" "one" { input = "hello ${var.who}" }
resource "terraform_data" "two" { input = terraform_data.one.output }
output "said" { value = terraform_data.two.output }
output "hidden" {
  value     = "a secret"
  sensitive = true
}
"""


@pytest.fixture
def cli(new_cli: NewCli, backend: Backend) -> Cli:
    cli = new_cli(backend, **{"execution-mode": "local"})
    cli.configure(MAIN)
    cli.ok("init")
    return cli


def locked(server: Server, cli: Cli) -> bool:
    """Whether somebody has the workspace's lock."""
    found = server.api("GET", f"organizations/default/workspaces/{cli.workspace}")
    is_locked: bool = found["data"]["attributes"]["locked"]
    return is_locked


def test_plan_apply_output_and_destroy(cli: Cli, server: Server) -> None:
    assert "2 to add" in cli.ok("plan")
    assert "2 added" in cli.ok("apply", answer="yes\n")
    assert not locked(server, cli)
    assert 'said = "hello world"' in cli.ok("output")
    assert cli.ok("output", "-raw", "hidden") == "a secret"
    assert "No changes" in cli.ok("plan", "-detailed-exitcode")
    assert cli.run("plan", "-detailed-exitcode", "-var", "who=you").code == 2
    assert "2 destroyed" in cli.ok("destroy", "-auto-approve")


def test_a_rejected_apply_leaves_no_lock(cli: Cli, server: Server) -> None:
    assert cli.run("apply", answer="no\n").code == 1
    assert not locked(server, cli)
    assert "No state file was found" in cli.run("state", "list").text


def test_state_commands(cli: Cli, server: Server) -> None:
    cli.ok("apply", "-auto-approve")
    assert cli.ok("state", "list").split() == ["terraform_data.one", "terraform_data.two"]
    assert '"hello world"' in cli.ok("state", "show", "terraform_data.one")
    cli.ok("state", "mv", "terraform_data.one", "terraform_data.first")
    assert "terraform_data.first" in cli.ok("state", "list")
    cli.ok("state", "rm", "terraform_data.first")
    assert cli.ok("state", "list").split() == ["terraform_data.two"]
    assert "tainted" in cli.ok("taint", "terraform_data.two")
    assert "(tainted)" in cli.ok("state", "show", "terraform_data.two")
    cli.ok("import", "terraform_data.one", "an-id")
    assert "terraform_data.one" in cli.ok("state", "list")
    assert not locked(server, cli)


def test_a_state_is_pulled_and_pushed(cli: Cli) -> None:
    cli.ok("apply", "-auto-approve")
    state = json.loads(cli.ok("state", "pull"))
    assert state["outputs"]["said"]["value"] == "hello world"
    state["serial"] += 5
    state["outputs"]["said"]["value"] = "pushed"
    file = cli.folder / "pushed.json"
    file.write_text(json.dumps(state))
    cli.ok("state", "push", "pushed.json")
    assert cli.ok("output", "-raw", "said") == "pushed"
    state |= {"lineage": "00000000-0000-0000-0000-000000000000", "serial": 1}
    file.write_text(json.dumps(state))
    assert cli.run("state", "push", "pushed.json").code == 1
    cli.ok("state", "push", "-force", "pushed.json")
    assert json.loads(cli.ok("state", "pull"))["lineage"] == state["lineage"]


def test_a_lock_keeps_others_out_until_it_is_forced(cli: Cli, server: Server) -> None:
    found = server.api("GET", f"organizations/default/workspaces/{cli.workspace}")
    id_ = found["data"]["id"]
    server.api("POST", f"workspaces/{id_}/actions/lock", {"reason": "mine"})
    refused = cli.run("apply", "-auto-approve")
    assert refused.code == 1
    assert "already locked" in re.sub(r"\s+", " ", refused.text)
    cli.ok("force-unlock", "-force", f"default/{cli.workspace}")
    cli.ok("apply", "-auto-approve")


def test_init_makes_the_workspace(server: Server, terraform: Terraform, tmp_path: Path) -> None:
    found = terraform.path
    cli = Cli(folder=tmp_path / "new", server=server, terraform=found, workspace="made-by-init")
    cli.configure(MAIN)
    assert "initialized" in cli.ok("init")
    assert not locked(server, cli)
