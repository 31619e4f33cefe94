"""Runs whose state is kept by snapshots, when what is around them dies."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.agent.test_snapshots import LARGE, WAITS
from tests.e2e.conftest import NewCli, Terraform
from tests.e2e.test_ends import newest, workspace
from tests.kit.command_line import Cli
from tests.kit.scripted_terraform import parent
from tests.kit.stack import Server, until

# A snapshot comes with the first change that is 20 seconds after the one before.
LATER = """
resource "terraform_data" "later" {
  depends_on = [terraform_data.large]
  provisioner "local-exec" { command = "sleep 21" }
}
"""

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("agent")]


@pytest.fixture
def terraform(terraforms: Mapping[str, Terraform]) -> Terraform:
    """One of them is enough here: nothing depends on the version."""
    return terraforms["carried"]


@pytest.fixture
def cli(new_cli: NewCli) -> Cli:
    cli = new_cli("cloud")
    cli.configure(LARGE)
    cli.ok("init")
    return cli


def test_a_server_that_dies_in_the_middle_is_not_missed(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    cli.configure(LARGE + WAITS.replace("FOLDER", str(tmp_path)))
    with cli.start("apply", "-auto-approve") as process:
        until((tmp_path / "pid").exists, "the apply is at its last object")
        server.kill()
        (tmp_path / "go").touch()
        server.start()
        process.communicate(timeout=60)
    until(lambda: newest(server, cli)["status"] == "applied", "the run is applied")
    assert len(cli.ok("state", "list").splitlines()) == 81
    assert workspace(server, cli)["hold"] is None
    cli.configure(LARGE)
    assert "1 destroyed" in cli.ok("apply", "-auto-approve")
    assert "80 destroyed" in cli.ok("destroy", "-auto-approve")
    assert cli.ok("state", "list").strip() == ""


def test_the_newest_snapshot_of_a_killed_terraform_is_adopted(
    cli: Cli, server: Server, tmp_path: Path
) -> None:
    waits = WAITS.replace("[terraform_data.large]", "[terraform_data.later]")
    cli.configure(LARGE + LATER + waits.replace("FOLDER", str(tmp_path)))
    with cli.start("apply", "-auto-approve") as process:
        until((tmp_path / "pid").exists, "the apply is at its last object", 60)
        until(lambda: "large" in cli.run("state", "list").text, "a snapshot is here", 60)
        os.kill(parent(tmp_path / "pid"), signal.SIGKILL)
        process.communicate(timeout=60)
    (tmp_path / "go").touch()
    run, held = newest(server, cli), workspace(server, cli)
    assert run["status"] == "errored"
    assert "signal 9" in run["reason"]
    assert held["hold"]["run"] == run["id"]
    assert "its newest state, serial" in held["hold"]["reason"]
    assert len(cli.ok("state", "list").splitlines()) == 81
    server.command("workspaces", "adopt", cli.workspace)
    assert workspace(server, cli)["hold"] is None
    cli.configure(LARGE)
    assert "0 added, 0 changed, 1 destroyed" in cli.ok("apply", "-auto-approve")
