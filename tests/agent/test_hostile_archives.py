"""Archives that got past `tarfile`, unpacked by an agent that no server has warned."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from terrapod_agent.errors import OperationFailed
from terrapod_agent.work.archive import unpack
from terrapod_common.tar_filter import objection
from tests.kit.hostile_archives import ATTACKS, packed


@pytest.fixture(params=["both", "ours alone"])
def checks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Python's filter behind our checks, and without, as before Python 3.11.4."""
    if request.param == "ours alone":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where to unpack, with something outside that is worth having."""
    (tmp_path / "outside").mkdir(mode=0o750)
    (tmp_path / "outside" / "flag").write_text("of another")
    root = tmp_path / "runs" / "root"
    root.mkdir(parents=True)
    return root


def outside(root: Path) -> Iterator[tuple[str, int, float, int, bytes]]:
    """All that an attack may want to change."""
    folder = root.parents[1] / "outside"
    for path in (folder, *sorted(folder.iterdir())):
        about = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        yield path.name, about.st_mode, about.st_mtime, about.st_nlink, content


@pytest.mark.usefixtures("checks")
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_reaches_nothing(root: Path, name: str) -> None:
    archive = root.parents[1] / "in.tar.gz"
    archive.write_bytes(packed(ATTACKS[name]()))
    before = [*outside(root)]
    with pytest.raises(OperationFailed):
        unpack(archive, root, 1_000_000)
    assert [*outside(root)] == before
    assert not Path("/tmp/terrapod-outside").exists()
    assert not Path("/etc/terrapod-outside").exists()


@pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="this Python has no such filter")
def test_what_python_objects_to(root: Path) -> None:
    member = tarfile.TarInfo("way")
    assert not objection(member, str(root))
    member.type, member.linkname = tarfile.SYMTYPE, "../out"
    assert "outside" in objection(member, str(root))
    (root / "there").symlink_to(root.parents[1] / "outside")
    assert "outside" in objection(tarfile.TarInfo("there/flag"), str(root))
