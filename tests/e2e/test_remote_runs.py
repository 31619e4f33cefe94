"""Runs that an agent carries out, driven by the real command line."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.conftest import NewCli
from tests.kit.command_line import Backend, Cli, reading
from tests.kit.stack import Server, until

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("agent")]

MAIN = """
variable "who" { default = "world" }
resource "terraform_data" "one" { input = "hello ${var.who}" }
output "said" { value = terraform_data.one.output }
"""
SLOW = """
resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "for i in $(seq 1 60); do echo line-$i; sleep 0.5; done"
  }
}
"""
KEYS = r"""
resource "terraform_data" "of" {
  for_each = toset(["\u001b[2J\u001b]0;title\u0007"])
  input    = each.key
}
"""
BRIEF = SLOW.replace("60", "4")


@pytest.fixture
def cli(new_cli: NewCli, backend: Backend) -> Cli:
    cli = new_cli(backend)
    cli.configure(MAIN)
    cli.ok("init")
    return cli


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def runs(server: Server, cli: Cli) -> list[dict[str, Any]]:
    """The attributes of the workspace's runs, the newest first."""
    path = f"organizations/default/workspaces/{cli.workspace}"
    id_ = server.api("GET", path)["data"]["id"]
    return [
        {"id": run["id"], **run["attributes"]}
        for run in server.api("GET", f"workspaces/{id_}/runs")["data"]
    ]


def test_keys_with_escapes_are_applied_and_clear_no_terminal(cli: Cli, server: Server) -> None:
    key = "\x1b[2J\x1b]0;title\x07"
    cli.configure(KEYS)
    assert "1 added" in cli.ok("apply", "-auto-approve")
    state = json.loads(cli.ok("state", "pull"))
    (resource,) = state["resources"]
    assert [one["index_key"] for one in resource["instances"]] == [key]
    run = runs(server, cli)[0]["id"]
    for phase in ("plan", "apply"):
        shown = server.api("GET", f"runs/{run}/{phase}")["data"]["attributes"]
        with server.client() as client:
            log = client.get(shown["log-read-url"]).text
        assert "terraform_data.of" in log
        assert "\x1b[2J" not in log
        assert "\x07" not in log


def test_a_plan_ends_by_itself(cli: Cli, server: Server) -> None:
    said = cli.ok("plan")
    assert "1 to add" in said
    assert "terraform_data.one will be created" in said
    assert runs(server, cli)[0]["status"] == "planned_and_finished"


def test_an_apply_that_is_approved(cli: Cli, server: Server) -> None:
    said = cli.ok("apply", answer="yes\n")
    assert "terraform_data.one: Creating" in said
    assert "1 added, 0 changed, 0 destroyed" in said
    assert runs(server, cli)[0]["status"] == "applied"
    assert cli.ok("output", "-raw", "said") == "hello world"
    assert "No changes" in cli.ok("plan")
    assert "No changes" in cli.ok("apply")


def test_an_apply_that_is_refused(cli: Cli, server: Server) -> None:
    ran = cli.run("apply", answer="no\n")
    assert ran.code == 1, ran.text
    assert "Apply discarded" in ran.text
    assert runs(server, cli)[0]["status"] == "discarded"


def test_auto_approve_and_destroy(cli: Cli, server: Server) -> None:
    assert "1 added" in cli.ok("apply", "-auto-approve")
    assert "1 to destroy" in cli.ok("plan", "-destroy")
    assert "1 destroyed" in cli.ok("apply", "-destroy", "-auto-approve")
    assert runs(server, cli)[0]["is-destroy"] is True


def test_a_variable_of_the_command_line(cli: Cli, backend: Backend) -> None:
    if backend == "remote":
        assert "Run variables are currently not supported" in cli.run("plan", "-var=who=you").text
        return
    said = cli.ok("apply", "-auto-approve", "-var", 'who=you ${x} "q"')
    assert "1 added" in said
    assert cli.ok("output", "-raw", "said") == 'hello you ${x} "q"'


def test_a_plan_that_fails(cli: Cli, server: Server) -> None:
    cli.configure('resource "terraform_data" "one" { input = nothing.like.this }')
    ran = cli.run("plan")
    assert ran.code == 1
    assert "Reference to undeclared resource" in ran.text
    assert runs(server, cli)[0]["status"] == "errored"


def test_an_apply_that_fails_keeps_what_it_reached(cli: Cli, server: Server) -> None:
    cli.configure(
        'resource "terraform_data" "good" {}\n'
        'resource "terraform_data" "bad" {\n  depends_on = [terraform_data.good]\n'
        '  provisioner "local-exec" {\n    command = "sleep 4; echo broken; exit 7"\n  }\n}\n'
    )
    ran = cli.run("apply", "-auto-approve")
    assert ran.code == 1
    assert "exit status 7" in ran.text
    assert runs(server, cli)[0]["status"] == "errored"
    assert "terraform_data.good" in cli.ok("state", "list")
    cli.configure(MAIN)
    cli.ok("apply", "-auto-approve")


def test_the_log_arrives_while_the_apply_goes_on(cli: Cli) -> None:
    cli.configure(BRIEF)
    with cli.start("apply", "-auto-approve") as process, reading(process) as lines:
        until(lambda: any("line-1" in line for line in lines), "the first line")
        assert process.poll() is None
        until(lambda: process.poll() is not None, "the end")
        assert process.returncode == 0
    text = "".join(lines)
    assert [int(n) for n in re.findall(r"line-(\d+)", text)] == [1, 2, 3, 4]


def test_two_runs_of_one_workspace_follow_each_other(cli: Cli, server: Server) -> None:
    cli.configure(BRIEF)
    with cli.start("apply", "-auto-approve") as first, reading(first):
        until(lambda: runs(server, cli), "the first run")
        with cli.start("apply", "-auto-approve") as second, reading(second) as lines:
            until(lambda: len(runs(server, cli)) == 2, "the second run")

            def both_ended() -> bool:
                return first.poll() is not None and second.poll() is not None

            until(both_ended, "both runs", 90)
            assert (first.returncode, second.returncode) == (0, 0), lines
    assert "Waiting for 1 run(s) to finish before being queued" in "".join(lines)
    later, earlier = (run["status-timestamps"] for run in runs(server, cli))
    # Not by what was shown meanwhile: the end of a quick apply is shown a moment late.
    assert moment(earlier["applied-at"]) <= moment(later["plan-queued-at"])


def test_an_interrupt_cancels_the_apply(cli: Cli, server: Server) -> None:
    cli.configure(SLOW)
    with cli.start("apply", "-auto-approve") as process, reading(process) as lines:
        until(lambda: any("line-1" in line for line in lines), "the apply runs")
        cli.interrupt(process)
        until(lambda: runs(server, cli)[0]["status"] in {"canceled", "errored"}, "canceled")
        until(lambda: process.poll() is not None, "terraform ends")
    assert runs(server, cli)[0]["status"] == "canceled"


@contextmanager
def applying(cli: Cli) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """An apply that a person approved and interrupted, and that now asks whether to cancel it."""
    with cli.start("apply") as process, reading(process) as lines:
        cli.say(process, "yes")
        until(lambda: any("line-1" in line for line in lines), "the apply runs")
        cli.interrupt(process)
        yield process, lines


def test_an_interrupt_that_is_confirmed_cancels_the_apply(cli: Cli, server: Server) -> None:
    cli.configure(SLOW)
    with applying(cli) as (process, lines):
        cli.say(process, "yes")
        until(lambda: runs(server, cli)[0]["status"] == "canceled", "canceled")
        until(lambda: process.poll() is not None, "terraform ends")
    assert process.returncode == 0  # as against HCP Terraform
    assert "line-60" not in "".join(lines)
    # What the apply had reached before it was stopped is in the state.
    assert "terraform_data.slow" in cli.ok("state", "list")


def test_an_interrupt_that_is_not_confirmed_leaves_the_apply(cli: Cli, server: Server) -> None:
    cli.configure(BRIEF)
    with applying(cli) as (process, _):
        cli.say(process, "no")
        until(lambda: process.poll() is not None, "terraform ends")
        until(lambda: runs(server, cli)[0]["status"] == "applied", "applied")


def test_a_saved_plan_is_applied_as_it_was(new_cli: NewCli, server: Server) -> None:
    cli = new_cli("cloud")
    cli.configure(MAIN)
    cli.ok("init")
    assert "1 to add" in cli.ok("plan", "-out=saved")
    assert runs(server, cli)[0]["status"] == "planned_and_saved"
    assert "1 added" in cli.ok("apply", "saved", answer="yes\n")
    assert runs(server, cli)[0]["status"] == "applied"
    assert cli.run("apply", "saved", answer="yes\n").code == 1


def test_a_saved_plan_of_an_old_state_is_not_applied(new_cli: NewCli, server: Server) -> None:
    cli = new_cli("cloud")
    cli.configure(MAIN)
    cli.ok("init")
    cli.ok("plan", "-out=saved", "-var=who=late")
    cli.ok("apply", "-auto-approve")
    assert cli.run("apply", "-auto-approve", "saved").code == 1
    assert cli.ok("output", "-raw", "said") == "hello world"
