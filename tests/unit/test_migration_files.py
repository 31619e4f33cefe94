"""The files of migrations: in order by their first lines, and the next one is easily made."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from terrapod_control_plane.migrations import files, new
from terrapod_control_plane.migrations.files import BadMigration

NOW = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)


def test_the_next_one_is_after_all_others(tmp_path: Path) -> None:
    path = files.new("more_rooms", NOW, tmp_path)
    assert path.name == "terrapod_2026_12_01_more_rooms.sql"
    (made,) = files.read(tmp_path)
    assert (made.id, made.about) == ("2026-12-01T09:30:00:000000", "more rooms")
    with pytest.raises(BadMigration, match="there already"):
        files.new("more_rooms", NOW, tmp_path)
    with pytest.raises(BadMigration, match="is the clock right"):
        files.new("fewer_rooms", NOW, tmp_path)


@pytest.mark.parametrize("name", ["", "More", "a-b", "../a", "1a"])
def test_a_name_is_one_of_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadMigration):
        files.new(name, NOW, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("first", ["", "create table a ()", "-- 2026-12-01: a", "-- : a"])
def test_a_file_says_which_it_is(tmp_path: Path, first: str) -> None:
    (tmp_path / "a.sql").write_text(f"{first}\n")
    with pytest.raises(BadMigration, match="first line"):
        files.read(tmp_path)


def test_two_are_not_of_one_moment(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.sql").write_text("-- 2026-12-01T09:30:00:000000: x\n")
    with pytest.raises(BadMigration, match="same moment"):
        files.read(tmp_path)


def test_the_command_says_what_is_wrong() -> None:
    with pytest.raises(SystemExit, match="usage"):
        new.main([])
    with pytest.raises(SystemExit, match=re.escape("no-name is no name")):
        new.main(["no-name"])
