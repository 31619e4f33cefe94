"""What is promised for when a server or an agent is killed."""

import itertools
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.e2e.conftest import NewAgent, NewCli, Terraform
from tests.kit.command_line import Cli
from tests.kit.stack import Agent, Server, until

pytestmark = pytest.mark.timeout(120)

_NUMBERS = itertools.count(1)

# A plan that has much to say and takes its time.
MANY = """
resource "terraform_data" "many" {
  for_each = toset([for i in range(400) : tostring(i)])
}
"""
SLOW_APPLY = """
resource "terraform_data" "first" { input = "reached" }
resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" {
    command = "for i in $(seq 1 COUNT); do echo line-$i; sleep 0.25; done"
  }
}
"""


class Alone:
    """A workspace whose runs go to a pool of its own."""

    def __init__(self, server: Server, new_cli: NewCli, new_agent: NewAgent) -> None:
        self.server = server
        self.pool = f"alone-{next(_NUMBERS)}"
        pool_id = server.command("pools", "create", self.pool)
        self.cli: Cli = new_cli(**{"execution-mode": "agent", "agent-pool-id": pool_id})
        self._new_agent = new_agent
        path = f"organizations/default/workspaces/{self.cli.workspace}"
        self.id: str = server.api("GET", path)["data"]["id"]

    def agent(self, name: str) -> Agent:
        """An agent of the pool."""
        return self._new_agent(self.pool, name)

    def workspace(self) -> dict[str, Any]:
        """Its attributes."""
        found: dict[str, Any] = self.server.api("GET", f"workspaces/{self.id}")["data"][
            "attributes"
        ]
        return found

    def run(self) -> dict[str, Any]:
        """The newest run, or nothing yet."""
        found = self.server.api("GET", f"workspaces/{self.id}/runs")["data"]
        return {} if not found else {"id": found[0]["id"], **found[0]["attributes"]}

    def log(self, kind: str) -> str:
        """The whole log of a phase of the newest run."""
        shown = self.server.api("GET", f"runs/{self.run()['id']}/{kind}")["data"]
        with self.server.client() as client:
            url = shown["attributes"]["log-read-url"]
            return client.get(url, headers={"authorization": ""}).text

    def until_status(self, *wanted: str, seconds: float = 40) -> dict[str, Any]:
        """The newest run, once it is in one of these."""
        return until(
            lambda: run if (run := self.run()) and run["status"] in wanted else None,
            f"a run that is {' or '.join(wanted)}",
            seconds,
        )


@pytest.fixture
def terraform(terraforms: Mapping[str, Terraform]) -> Terraform:
    """One of them is enough here: nothing depends on the version."""
    return terraforms["carried"]


@pytest.fixture
def alone(server: Server, new_cli: NewCli, new_agent: NewAgent) -> Alone:
    return Alone(server, new_cli, new_agent)


def in_background(work: Callable[[], object]) -> threading.Thread:
    """Something that goes on beside the test."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def configure(cli: Cli, text: str) -> None:
    """Write a configuration and initialize it."""
    cli.configure(text)
    cli.ok("init")


def lines_of(text: str) -> list[int]:
    """The numbers of the lines that the provisioner printed."""
    return [int(number) for number in re.findall(r"(?<!\$)line-(\d+)", text)]


def test_a_killed_server_loses_no_byte_of_an_apply(alone: Alone, server: Server) -> None:
    agent = alone.agent("steady")
    configure(alone.cli, SLOW_APPLY.replace("COUNT", "24"))
    applying = in_background(lambda: alone.cli.run("apply", "-auto-approve"))
    alone.until_status("applying")
    until(lambda: "line-3" in alone.log("apply"), "three lines")
    server.kill()
    server.start()
    alone.until_status("applied", "errored")
    assert alone.run()["status"] == "applied", agent.log[-3000:]
    assert lines_of(alone.log("apply")) == list(range(1, 25))
    applying.join(60)


def test_a_killed_server_loses_no_byte_of_a_plan(alone: Alone, server: Server) -> None:
    alone.agent("steady")
    configure(alone.cli, MANY)
    planning = in_background(lambda: alone.cli.run("plan"))
    alone.until_status("planning")
    until(lambda: "will be created" in alone.log("plan"), "the first lines of the plan")
    server.kill()
    server.start()
    run = alone.until_status("planned_and_finished", "errored")
    log = alone.log("plan")
    assert run["status"] == "planned_and_finished", log
    created = re.findall(r'terraform_data\.many\["(\d+)"\].* will be created', log)
    assert sorted(map(int, created)) == list(range(400))
    assert "the plan starts again" not in log
    assert log.count("Terraform will perform the following actions") == 1
    assert log.endswith("\x03")
    planning.join(60)


def test_a_server_that_stood_still_takes_no_lease_away(alone: Alone, server: Server) -> None:
    agent = alone.agent("steady")
    configure(alone.cli, SLOW_APPLY.replace("COUNT", "40"))
    applying = in_background(lambda: alone.cli.run("apply", "-auto-approve"))
    alone.until_status("applying")
    until(lambda: "line-2" in alone.log("apply"), "two lines")
    server.stand_still(seconds=6)  # twice as long as a lease
    alone.until_status("applied", "errored")
    assert alone.run()["status"] == "applied", agent.log[-3000:]
    assert lines_of(alone.log("apply")) == list(range(1, 41))
    applying.join(60)


def test_another_agent_takes_the_plan_of_a_killed_one(alone: Alone, server: Server) -> None:
    first = alone.agent("first")
    configure(alone.cli, MANY)
    planning = in_background(lambda: alone.cli.run("plan"))
    alone.until_status("planning")
    first.kill()
    alone.agent("second")
    run = alone.until_status("planned_and_finished", "errored")
    assert run["status"] == "planned_and_finished", alone.log("plan")
    assert "the plan starts again" in alone.log("plan"), "the first agent was not lost with it"
    planning.join(60)


def lost_apply(alone: Alone) -> tuple[Agent, dict[str, Any]]:
    """An apply whose agent was killed in it, and the run that it left."""
    agent = alone.agent("lost")
    configure(alone.cli, SLOW_APPLY.replace("COUNT", "80"))
    in_background(lambda: alone.cli.run("apply", "-auto-approve"))
    alone.until_status("applying")
    until(lambda: "line-2" in alone.log("apply"), "two lines")
    agent.kill()
    run = alone.until_status("errored")
    assert "lost during apply" in run["reason"]
    assert "lost during apply" in alone.log("apply")
    hold = alone.workspace()["hold"]
    assert hold["run"] == run["id"]
    return agent, run


def test_the_state_of_a_lost_apply_arrives_with_its_agent(alone: Alone, server: Server) -> None:
    agent, _ = lost_apply(alone)
    path = f"/api/v2/workspaces/{alone.id}/actions/adopt-state"
    with server.client() as client:
        assert client.post(path).status_code == 409, "nothing has arrived yet"
        agent.start()
        told = "its agent came back: terraform had ended with exit code 1 and wrote serial"
        until(lambda: told in alone.workspace()["hold"]["reason"], "the late result arrives")
        assert alone.run()["status"] == "errored"
        assert "--- late, after the run had ended ---" in alone.log("apply")
        until(lambda: client.post(path).is_success, "the state arrives and is adopted")
    assert alone.workspace()["hold"] is None
    assert "terraform_data.first" in alone.cli.ok("state", "list")
    alone.cli.configure('resource "terraform_data" "first" { input = "reached" }')
    assert "1 destroyed" in alone.cli.ok("apply", "-auto-approve")


def test_applies_wait_until_the_hold_is_cleared(alone: Alone, server: Server) -> None:
    agent, lost = lost_apply(alone)
    agent.folder = agent.folder.with_name("other")  # the first one never returns
    agent.name = "other"
    agent.join()
    agent.start()
    alone.cli.configure('resource "terraform_data" "first" {}')
    said: list[str] = []
    applying = in_background(lambda: said.append(alone.cli.run("apply", "-auto-approve").text))
    until(lambda: alone.run()["id"] != lost["id"], "the next run")
    waiting = alone.until_status("planned")
    assert "on hold" in waiting["waiting-on"]
    server.api("POST", f"workspaces/{alone.id}/actions/clear-hold", {"comment": "it is gone"})
    assert alone.workspace()["hold"] is None
    # Its plan knew nothing of what the lost apply had made.
    assert "before the hold" in alone.until_status("discarded")["reason"]
    applying.join(60)
    assert "The workspace is on hold" in said[0]
    alone.cli.ok("apply", "-auto-approve")
    assert alone.run()["status"] == "applied"
