"""A restore that is killed before there is a database in its place."""

from pathlib import Path

import pytest

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.kit.backups import Place, sealed

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.mark.parametrize("made", ["restoring", "postgres"])
async def test_nobody_begins_anew_where_a_restore_had_begun(
    here: Place, run: str, tmp_path: Path, made: str
) -> None:
    archive = here.backup(tmp_path / "b", *sealed(tmp_path))
    place = Place("", tmp_path / "embedded")  # with a database of its own
    place.kill_once_there_is(made, "restore", archive, *sealed(tmp_path))
    try:
        for command in ("serve", "migrate"):
            assert "did not come to its end" in place.run(command).err
        assert not (place.data / "keys").exists()
        place.restore(archive, *sealed(tmp_path))
        assert not (place.data / "restoring").exists()
        assert "schema is up to date" in place.run("migrate").out
    finally:
        Embedded(place.data / "postgres").erase()


async def test_what_was_refused_leaves_no_mark(here: Place, tmp_path: Path) -> None:
    archive = here.backup(tmp_path / "b", *sealed(tmp_path))
    place = Place(here.dsn, tmp_path / "empty")
    place.data.mkdir()
    assert "uses this database already" in place.run("restore", archive, *sealed(tmp_path)).refusal
    assert list(place.data.iterdir()) == []
