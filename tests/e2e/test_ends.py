"""How runs end for who sits in front of the real command line, and for who comes after."""

import signal
from collections.abc import Mapping
from typing import Any

import pytest

from tests.e2e.conftest import NewCli, Terraform
from tests.kit.command_line import Backend, Cli, reading
from tests.kit.stack import Server, until

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("agent")]

TRIES = 4
FAILS = """
resource "terraform_data" "good" {}
resource "terraform_data" "bad" {
  depends_on = [terraform_data.good]
  provisioner "local-exec" {
    command = "echo it is broken; exit 3"
  }
}
"""
# The shell's parent is terraform itself.
KILLED = FAILS.replace("echo it is broken; exit 3", "sleep 1; kill -9 $PPID")


def workspace(server: Server, cli: Cli) -> dict[str, Any]:
    """The workspace's attributes, and its id."""
    path = f"organizations/default/workspaces/{cli.workspace}"
    found = server.api("GET", path)["data"]
    return {"id": found["id"], **found["attributes"]}


def newest(server: Server, cli: Cli) -> dict[str, Any]:
    """The newest run's attributes, and its id."""
    id_ = workspace(server, cli)["id"]
    found = server.api("GET", f"workspaces/{id_}/runs")["data"][0]
    return {"id": found["id"], **found["attributes"]}


def ended(server: Server, run: str) -> bool:
    """Whether the server's log has a line on the end of a run."""
    lines = server.log.splitlines()
    return any("a run has ended" in line and run in line for line in lines)


@pytest.fixture
def cli(new_cli: NewCli, backend: Backend) -> Cli:
    cli = new_cli(backend)
    cli.configure(FAILS)
    cli.ok("init")
    return cli


def test_an_apply_that_fails_at_once_is_shown_each_time(cli: Cli, server: Server) -> None:
    for _ in range(TRIES):
        ran = cli.run("apply", "-auto-approve")
        assert ran.code == 1, ran.text
        assert "it is broken" in ran.text  # the log of the apply
        assert "exit status 3" in ran.text  # and the error in it
        assert newest(server, cli)["status"] == "errored"
    assert workspace(server, cli)["hold"] is None


def test_an_apply_that_has_failed_before_the_reader_looks_again(
    new_cli: NewCli, server: Server
) -> None:
    cli = new_cli("cloud")  # the other backend confirms by itself, after it has read the log
    cli.configure(FAILS)
    cli.ok("init")
    # The command line is held where it reads the plan's log, for as long as all the rest takes.
    with cli.start("apply", "-auto-approve") as process, reading(process) as lines:
        until(lambda: any("on linux" in line for line in lines), "the plan's log is read")
        process.send_signal(signal.SIGSTOP)
        run = newest(server, cli)["id"]
        until(lambda: ended(server, run), "the apply has failed")
        assert newest(server, cli)["status"] == "applying"
        process.send_signal(signal.SIGCONT)
        until(lambda: process.poll() is not None, "terraform ends")
    assert process.returncode == 1
    assert "it is broken" in "".join(lines)
    assert "exit status 3" in "".join(lines)
    assert newest(server, cli)["status"] == "errored"


def test_a_terraform_that_kills_itself_holds_the_workspace(
    new_cli: NewCli, server: Server, terraforms: Mapping[str, Terraform]
) -> None:
    cli = new_cli("cloud")
    cli.configure(KILLED)
    cli.ok("init")
    ran = cli.run("apply", "-auto-approve")
    assert ran.code == 1, ran.text
    assert "Terraform did not end by itself" in ran.text
    run, held = newest(server, cli), workspace(server, cli)
    assert "signal 9" in run["reason"]
    assert held["hold"]["run"] == run["id"]
    assert "signal 9" in held["hold"]["reason"]
    assert "its newest state, serial" in held["hold"]["reason"]
    # What had been made is in the state, and nothing is made again before somebody has looked.
    assert "terraform_data.good" in cli.ok("state", "list")
    cli.configure('resource "terraform_data" "good" { input = "seen" }')
    with cli.start("apply", "-auto-approve") as following:
        until(lambda: newest(server, cli)["status"] == "planned", "the next plan")
        assert "on hold" in newest(server, cli)["waiting-on"]
        server.command("workspaces", "adopt", cli.workspace)
        said, _ = following.communicate(timeout=60)
    assert "The workspace is on hold" in said
    assert newest(server, cli)["status"] == "discarded"
    assert workspace(server, cli)["hold"] is None
    assert "1 changed" in cli.ok("apply", "-auto-approve")
