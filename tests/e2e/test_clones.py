"""Two agents of one identity, as after a copied machine: to the server they are one."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.restored import Scene
from tests.kit.stack import Agent, until
from tests.kit.terraforms import real_terraform, terraform_version

pytestmark = pytest.mark.timeout(180)

_RUNS = 4


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path, real_terraform(tmp_path / "bin"), terraform_version())
    yield scene
    scene.end()


@pytest.fixture
def both(scene: Scene) -> Iterator[list[Agent]]:
    """The agent and its copy; both run."""
    folder = scene.folder / "clone"
    shutil.copytree(scene.agent.folder, folder)
    clone = Agent(folder=folder, server=scene.server, name="main", pool="main")
    scene.agent.start()
    clone.start()
    yield [scene.agent, clone]
    clone.stop()


def taken(agent: Agent) -> list[str]:
    """The phases that an agent has begun to work on."""
    return re.findall(r"took a phase .*phase=(\S+)", agent.log)


def test_no_phase_is_done_by_both_and_none_lives_by_the_beats_of_the_other(
    scene: Scene, both: list[Agent]
) -> None:
    runs = []
    for number in range(_RUNS):
        scene.workspace = scene.new_workspace(f"copied-{number}")
        runs.append(scene.run())
    assert {scene.ended(run) for run in runs} == {"applied"}
    done = [phase for agent in both for phase in taken(agent)]
    assert len(done) == len(set(done)) == 2 * _RUNS
    assert scene.applied() == _RUNS
    assert not scene.hold()
    scene.workspace = scene.new_workspace("last")
    gate = scene.folder / "gate"
    run = scene.run(gate)
    until(lambda: scene.applied() == _RUNS + 1, "the apply has begun")
    apply = scene.server.api("GET", f"runs/{run}/apply")["data"]["id"]
    (holder,) = (agent for agent in both if apply in taken(agent))
    holder.kill()
    gate.touch()
    assert (scene.ended(run), scene.applied()) == ("errored", _RUNS + 1)
    assert run in scene.hold()
