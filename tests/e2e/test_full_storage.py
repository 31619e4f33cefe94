"""The server's storage is full when an apply ends: its agent goes on until the state is there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.disks import Disk, small_disk
from tests.kit.restored import Scene
from tests.kit.stack import until
from tests.kit.terraforms import real_terraform, terraform_version

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.needs("root"),
]

_TRIES = 3


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path, real_terraform(tmp_path / "bin"), terraform_version())
    yield scene
    scene.end()


@pytest.fixture
def disk(scene: Scene) -> Iterator[Disk]:
    """The place of the server's blobs; its database lies elsewhere."""
    scene.server.stop()
    with small_disk(scene.server.data / "blobs", 16) as disk:
        scene.server.start()
        yield disk


def test_the_state_of_an_apply_is_stored_once_there_is_room(scene: Scene, disk: Disk) -> None:
    scene.agent.start()
    gate = scene.folder / "gate"
    run = scene.run(gate)
    until(lambda: scene.applied() == 1, "the apply has begun")
    disk.fill()
    gate.touch()
    refused = '"event": "nothing can be stored"'
    until(lambda: scene.server.log.count(refused) >= _TRIES, "the state was refused", 90)
    assert scene.shown(run)["status"] == "applying"
    assert not list((disk.path / ".incoming").iterdir())
    disk.free()
    assert (scene.ended(run), scene.applied()) == ("applied", 1)
    path = f"workspaces/{scene.workspace}/current-state-version"
    shown = scene.server.api("GET", path)["data"]["attributes"]
    with scene.server.client() as client:
        state = json.loads(client.get(shown["hosted-state-download-url"]).content)
    assert (state["serial"], [one["name"] for one in state["resources"]]) == (
        shown["serial"],
        ["counted"],
    )
    assert not scene.hold()
