"""Options that only some terraforms have, and values that nobody may see, by the real CLI."""

import pytest

from tests.e2e.conftest import NewCli
from tests.kit.stack import Server

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("agent")]

MAIN = """
variable "plain" { type = string }
variable "secret" {
  type      = string
  sensitive = true
}
resource "terraform_data" "one" { input = var.plain }
"""


def test_a_secret_of_the_command_line_is_shown_to_nobody(server: Server, new_cli: NewCli) -> None:
    cli = new_cli()
    cli.configure(MAIN)
    cli.ok("init")
    cli.ok("plan", "-var", "plain=seen", "-var", "secret=hush")
    path = f"organizations/default/workspaces/{cli.workspace}"
    workspace = server.api("GET", path)["data"]["id"]
    (run,) = server.api("GET", f"workspaces/{workspace}/runs")["data"]
    assert sorted(run["attributes"]["variables"], key=lambda one: one["key"]) == [
        {"key": "plain", "value": '"seen"', "sensitive": False},
        {"key": "secret", "value": "", "sensitive": True},
    ]


@pytest.mark.parametrize("terraform", ["carried"], indirect=True)  # which knows actions
def test_an_action_is_invoked_on_the_agent(new_cli: NewCli) -> None:
    cli = new_cli()
    cli.configure("")
    cli.ok("init")
    ran = cli.run("plan", "-invoke=action.local_command.greet")
    assert ran.code != 0
    assert "action.local_command.greet does not exist" in " ".join(ran.text.split())
    old = new_cli(**{"terraform-version": "1.13.5"})
    old.configure("")
    old.ok("init")
    ran = old.run("plan", "-invoke=action.local_command.greet")
    assert ran.code != 0
    assert "terraform 1.13.5 has no actions" in " ".join(ran.text.split())
