"""Several agents share a folder for runs, each in a container with its own data directory."""

import os
import time
from pathlib import Path

from terrapod_agent.work import run_folder
from terrapod_agent.work.run_folder import RunFolder


def taken(root: Path, owner: Path) -> Path:
    """A place that has lain for long."""
    owner.mkdir(parents=True)
    path = RunFolder(root, "run-1", owner).acquire()
    (path / "state").touch()
    os.utime(path, (time.time() - 4000,) * 2)
    return path


def test_what_another_container_has_is_left_alone(tmp_path: Path) -> None:
    root = run_folder.usable_root(tmp_path / "runs", tmp_path)
    data = tmp_path / "agent" / "phases"
    found = taken(root, data / "apply-1.1")
    # What the other one sees there: its own data directory, of the same path.
    (tmp_path / "agent").rename(tmp_path / "of-the-first")
    data.mkdir(parents=True)
    run_folder.remove_abandoned(root)
    assert (found / "state").exists()
    taken(root, data / "apply-1.2")  # and it has an identity now
    (data / "apply-1.2").rmdir()
    run_folder.remove_abandoned(root)
    assert [path.name for path in root.iterdir() if path.is_dir()] == ["run-1.apply-1.1"]


def test_what_a_neighbour_has_forgotten_is_removed(tmp_path: Path) -> None:
    root = run_folder.usable_root(tmp_path / "runs", tmp_path)
    owner = tmp_path / "agent" / "phases" / "apply-1.1"
    found = taken(root, owner)
    run_folder.remove_abandoned(root)
    assert found.exists()
    owner.rmdir()
    run_folder.remove_abandoned(root)
    assert sorted(path.name for path in root.iterdir()) == [".lock"]


def test_a_place_without_a_word_of_whose_directory_it_is_stays(tmp_path: Path) -> None:
    root = run_folder.usable_root(tmp_path / "runs", tmp_path)
    owner = tmp_path / "agent" / "phases" / "apply-1.1"
    found = taken(root, owner)
    owner.rmdir()
    (root / "run-1.owner").write_text(str(owner))
    run_folder.remove_abandoned(root)
    assert found.exists()
