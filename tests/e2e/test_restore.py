"""A server that is set back applies nothing twice: real processes, counted outside."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.backups import sealed
from tests.kit.restored import Scene
from tests.kit.stack import until
from tests.kit.terraforms import real_terraform, terraform_version

pytestmark = pytest.mark.timeout(180)

# Long enough for several polls and beats of the agent.
_A_WHILE = 4.0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path, real_terraform(tmp_path / "bin"), terraform_version())
    yield scene
    scene.end()


def test_what_was_queued_at_the_backup_and_applied_after_it_is_not_applied_again(
    scene: Scene,
) -> None:
    run = scene.run()
    archive = scene.backup()
    scene.agent.start()
    assert scene.ended(run) == "applied"
    assert scene.applied() == 1
    scene.restore(archive)
    assert "paused" in scene.shown(run)["waiting-on"]
    time.sleep(_A_WHILE)
    assert (scene.shown(run)["status"], scene.applied()) == ("plan_queued", 1)
    assert "app" in scene.server.command("resume")
    time.sleep(_A_WHILE)
    assert (scene.ended(run), scene.applied()) == ("errored", 1)
    assert run in scene.hold()
    # The same configuration again is planned, and nothing of it is applied before a person looked.
    again = scene.run()
    scene.until(again, "planned")
    assert scene.confirm(again).status_code == 409
    assert scene.applied() == 1


def test_a_state_of_before_the_restore_is_kept_by_its_agent(scene: Scene) -> None:
    scene.agent.start()
    gate = scene.folder / "gate"
    run = scene.run(gate)
    until(lambda: scene.applied() == 1, "the apply has begun")
    archive = scene.backup()
    scene.restore(archive)
    gate.touch()
    until(lambda: "it is kept" in scene.agent.log, "the agent keeps the state")
    assert "before the server was restored" in scene.agent.log
    kept = [p for p in (scene.agent.folder / "data").rglob("*") if _is_state(p)]
    assert kept
    states = scene.server.api("GET", f"workspaces/{scene.workspace}/state-versions")
    assert states["data"] == []
    scene.server.command("resume")
    assert (scene.ended(run), scene.applied()) == ("errored", 1)
    assert run in scene.hold()
    scene.agent.stop()
    scene.agent.start()  # nor does a restart of the agent hand it in
    time.sleep(_A_WHILE)
    states = scene.server.api("GET", f"workspaces/{scene.workspace}/state-versions")
    assert states["data"] == []


def test_a_database_that_was_set_back_alone_is_noticed_at_its_start(scene: Scene) -> None:
    secret = sealed(scene.folder)
    copy = scene.copied()
    scene.agent.start()
    run = scene.run()
    assert scene.ended(run) == "applied"
    scene.set_back(copy)
    found = scene.recovery()
    assert (found["paused"], [f["run-id"] for f in found["findings"]]) == (True, [run])
    assert "older than what has happened" in scene.server.log
    assert f"app: {run} went further" in scene.server.command("resume", "--show")
    assert "app" in scene.server.command("resume")
    assert run in scene.hold()
    scene.server.stop()
    archive = scene.backup()  # the embedded database is started for it
    assert "is whole" in scene.server.command("backup", "verify", *map(str, [archive, *secret]))
    scene.server.start()
    assert "not paused" in scene.server.command("resume", "--show")
    assert scene.applied() == 1
    before = scene.recovery()["epoch"]
    assert "Workspaces on hold: 0." in scene.server.command("resume", "--new-epoch")
    assert scene.recovery()["epoch"] > before


def test_a_server_that_was_started_paused_hands_out_work_once_it_is_resumed(scene: Scene) -> None:
    scene.server.stop()
    scene.server.start("--paused")
    scene.agent.start()
    assert "paused: nothing is handed out" in scene.server.log
    said = scene.server.command("resume", "--show")
    assert said.startswith("The server is paused since 2")
    assert said.endswith(": it was started with --paused.")
    run = scene.run()
    time.sleep(_A_WHILE)
    shown = scene.shown(run)
    assert (shown["status"], scene.applied()) == ("pending", 0)
    assert "the server is paused: it was started with --paused" in shown["waiting-on"]
    with scene.server.client() as client:
        assert client.get("/ready").json()["paused"] is True
    said = scene.server.command("resume")
    assert said.startswith(f"The server goes on, in epoch {scene.recovery()['epoch']}.")
    assert (scene.ended(run), scene.applied()) == ("applied", 1)
    assert "not paused" in scene.server.command("resume", "--show")


def _is_state(path: Path) -> bool:
    return path.is_file() and b'"lineage"' in path.read_bytes()[:2000]
