"""Agents whose clock is hours away from the server's: who joins, and who is told what."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.skew import clock_ahead
from tests.kit.stack import Agent, Server, until

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs("faketime")]

NewAgent = Callable[[str, float], Agent]


@pytest.fixture
def new_agent(server: Server, tmp_path: Path) -> Iterator[NewAgent]:
    made: list[Agent] = []

    def make(name: str, hours: float) -> Agent:
        settings = clock_ahead(hours) if hours else {}
        folder = tmp_path / name
        made.append(Agent(folder=folder, server=server, name=name, pool="main", settings=settings))
        return made[-1]

    yield make
    for agent in made:
        agent.stop()


def told(agent: Agent, command: str, hours: float = 0.0) -> tuple[int, str]:
    """How a command of the agent ends, and what it says."""
    ran = subprocess.run(
        [Path(sys.executable).parent / "terrapod-agent", command],
        env={**agent._environment(), **clock_ahead(hours)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout


def test_a_clock_that_is_behind_is_asked_after_at_the_join(new_agent: NewAgent) -> None:
    with pytest.raises(AssertionError, match=r"not yet valid.*clock says 20.* UTC: is it right"):
        new_agent("behind", -3).join()


def test_a_clock_that_is_behind_is_found_by_the_doctor(new_agent: NewAgent) -> None:
    agent = new_agent("falls-behind", 0)
    agent.join()
    code, said = told(agent, "doctor", hours=-3)
    lines = {line.split()[1]: line for line in said.splitlines()}
    assert code == 1
    assert lines["clock"].startswith("FAIL clock")
    assert "is it right?" in lines["clock"]
    assert "not yet valid" in lines["agent"]


def test_with_a_clock_a_day_ahead_an_agent_joins_and_works_and_is_told(
    new_agent: NewAgent,
) -> None:
    agent = new_agent("ahead", 26)
    agent.join()
    agent.start()
    until(lambda: "connected    yes" in told(agent, "status")[1], "its server knows it")
    code, said = told(agent, "doctor", hours=26)
    assert code == 1
    assert "FAIL clock        +936" in said
    assert "FAIL certificate  ended at" in said
    assert "by the clock of this machine" in said
    assert "ok   agent port" in said
    assert told(agent, "doctor")[0] == 0  # it is the clock alone
