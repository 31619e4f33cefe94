"""User ids of runs: what one run leaves is not there for the next with the same id."""

import os
import pwd
from pathlib import Path

import pytest

from terrapod_agent.errors import OperationFailed
from terrapod_agent.executors.users import UserIds

UID = 64_990


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder like `/tmp`."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def users(tmp_path: Path, shared: Path) -> UserIds:
    return UserIds(UID, UID, tmp_path / "locks", [tmp_path / "absent", shared])


def leave(folder: Path, uid: int) -> list[Path]:
    """What a run may leave: a file, a folder that it has closed, a link to somebody's file."""
    file, deep, link = (folder / f"{name}-{uid}" for name in ("file", "folder", "link"))
    file.write_text("of a run")
    (deep / "inner").mkdir(parents=True)
    (deep / "inner" / "file").write_text("of a run")
    link.symlink_to("/etc/hostname")
    for path in (file, deep, deep / "inner", deep / "inner" / "file", link):
        os.chown(path, uid, uid, follow_symlinks=False)
    deep.chmod(0)
    return [file, deep, link]


def test_an_id_that_has_an_account_is_not_given(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    place = tmp_path / "place"
    place.mkdir()
    users = UserIds(nobody, nobody, tmp_path / "locks", [])
    with (
        pytest.raises(OperationFailed, match="in use by runs or have accounts"),
        users.acquire(place),
    ):
        pass


@pytest.mark.needs("root")
def test_what_a_run_leaves_where_everybody_may_write_is_removed(
    users: UserIds, shared: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    other = leave(shared, UID + 1)
    before = leave(shared, UID)  # of a run whose agent was killed
    with users.acquire(place) as account:
        assert account.uid == UID
        assert not any(os.path.lexists(path) for path in before)
        during = leave(shared, UID)
    assert not any(os.path.lexists(path) for path in during)
    assert all(os.path.lexists(path) for path in other)
    assert Path("/etc/hostname").exists()
