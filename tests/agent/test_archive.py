"""Archives of strangers."""

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from terrapod_agent.errors import OperationFailed
from terrapod_agent.work.archive import unpack


def pack(folder: Path, *members: tuple[str, Any]) -> Path:
    path = folder / "in.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, what in members:
            member = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                member.size = len(what)
                tar.addfile(member, io.BytesIO(what))
            else:
                member.type, member.linkname = what
                tar.addfile(member)
    return path


@pytest.mark.parametrize(
    "members",
    [
        [("/etc/passwd", b"x")],
        [("../out", b"x")],
        [("a/../../out", b"x")],
        [("link", (tarfile.SYMTYPE, "/etc"))],
        [("link", (tarfile.SYMTYPE, "../out"))],
        [("a/link", (tarfile.SYMTYPE, "../../out"))],
        [("link", (tarfile.SYMTYPE, "x/../../out"))],
        [("d", (tarfile.SYMTYPE, ".")), ("d/l", (tarfile.SYMTYPE, "../out"))],
        [("x/y", b""), ("x/l", (tarfile.SYMTYPE, "../x/../../z"))],
        [("a", (tarfile.SYMTYPE, "b")), ("b", (tarfile.SYMTYPE, "a"))],
        [("hard", (tarfile.LNKTYPE, "/etc/passwd"))],
        [("hard", (tarfile.LNKTYPE, "../../etc/passwd"))],
        [("hard", (tarfile.LNKTYPE, "not-there"))],
        [("null", (tarfile.CHRTYPE, ""))],
        [("pipe", (tarfile.FIFOTYPE, ""))],
        [("big", b"x" * 2000)],
        [("one", b"x" * 600), ("two", b"x" * 600)],
        [("a", b"x"), ("a/b", b"x")],
        [("a/b", b"x"), ("a", b"x")],
    ],
)
def test_what_leaves_the_folder_is_refused(tmp_path: Path, members: list[tuple[str, Any]]) -> None:
    root = tmp_path / "deep" / "root"
    root.mkdir(parents=True)
    with pytest.raises(OperationFailed):
        unpack(pack(tmp_path, *members), root, 1000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "in.tar.gz"]
    assert list((tmp_path / "deep").iterdir()) == [root]


def test_what_stays_inside_is_unpacked(tmp_path: Path) -> None:
    archive = pack(
        tmp_path,
        ("./", (tarfile.DIRTYPE, "")),
        ("modules/a/main.tf", b"a"),
        ("modules/b", (tarfile.SYMTYPE, "a")),
        ("link", (tarfile.SYMTYPE, "modules/a/main.tf")),
        ("hard", (tarfile.LNKTYPE, "modules/a/main.tf")),
        ("modules/a/main.tf", b"newer"),
    )
    unpack(archive, tmp_path, 1000)
    assert (tmp_path / "modules/b/main.tf").read_bytes() == b"newer"
    assert (tmp_path / "link").read_bytes() == b"newer"
    assert (tmp_path / "hard").read_bytes() == b"a"


def test_an_archive_that_is_cut_off_is_told(tmp_path: Path) -> None:
    archive = pack(tmp_path, ("a", os.urandom(5000)))
    archive.write_bytes(archive.read_bytes()[:2000])
    with pytest.raises(OperationFailed, match="cannot be unpacked"):
        unpack(archive, tmp_path, 10_000)


def test_a_link_is_judged_by_where_it_ends(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    link = ("env/x", (tarfile.SYMTYPE, "../modules/../shared/x"))
    unpack(pack(tmp_path, link, ("modules/m.tf", b""), ("shared/x", b"here")), root, 1000)
    assert (root / "env" / "x").read_bytes() == b"here"
