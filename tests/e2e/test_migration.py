"""Several local workspaces are moved to the server by one `terraform init`."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Terraform
from tests.kit.command_line import Cli, reading
from tests.kit.stack import Server, until

pytestmark = pytest.mark.timeout(180)

NAMES = ("blue", "green", "red")
MAIN = """
resource "terraform_data" "of" { input = "of ${terraform.workspace}" }
output "of" { value = terraform_data.of.output }
"""
CLOUD = """
terraform {{
  cloud {{
    hostname     = "localhost:{port}"
    organization = "default"
    workspaces {{ tags = ["{tag}"] }}
  }}
}}
"""


def test_each_workspace_keeps_its_own_state(
    server: Server, terraform: Terraform, tmp_path: Path
) -> None:
    tag = f"moved-{terraform.version.replace('.', '-')}"
    folder = tmp_path / "config"
    folder.mkdir()
    cli = Cli(folder=folder, server=server, terraform=terraform.path, workspace="")
    (folder / "main.tf").write_text(MAIN)
    cli.ok("init")
    before = {}
    for name in NAMES:
        cli.ok("workspace", "new", name)
        cli.ok("apply", "-auto-approve")
        before[name] = json.loads(cli.ok("state", "pull"))
    (folder / "cloud.tf").write_text(CLOUD.format(port=server.port, tag=tag))
    # Each question reads all that has come before it, so none is answered too early.
    with cli.start("init") as init, reading(init) as lines:
        until(lambda: any("2. No, I would not" in line for line in lines), "the first question")
        cli.say(init, "1")
        until(lambda: any("app-prod-region1" in line for line in lines), "the second question")
        cli.say(init, f"{tag}-*")
        until(lambda: init.poll() is not None, "terraform ends")
    assert init.returncode == 0, "".join(lines)
    listed = cli.ok("workspace", "list").replace("*", "").split()
    assert listed == [f"{tag}-{name}" for name in NAMES]
    for name in NAMES:
        cli.ok("workspace", "select", f"{tag}-{name}")
        state = json.loads(cli.ok("state", "pull"))
        assert state["outputs"]["of"]["value"] == f"of {name}"
        assert state["resources"] == before[name]["resources"]
        path = f"organizations/default/workspaces/{tag}-{name}"
        shown = server.api("GET", path)["data"]["attributes"]
        assert (shown["locked"], shown["hold"]) == (False, None)
