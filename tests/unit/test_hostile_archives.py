"""Archives that got past `tarfile`, uploaded to a server."""

import io
import tarfile

import pytest

from terrapod_control_plane.configurations.archive import BadArchive, Bounds, check
from tests.kit.hostile_archives import ATTACKS, file, folder, packed, symlink

BOUNDS = Bounds(
    bytes_at_most=10_000_000, files_at_most=1000, ratio_at_most=1000, ratio_free_bytes=10_000_000
)


@pytest.fixture(params=["both", "ours alone"], autouse=True)
def checks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Python's filter behind our checks, and without, as before Python 3.11.4."""
    if request.param == "ours alone":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused(name: str) -> None:
    raw = packed(ATTACKS[name]())
    with pytest.raises(BadArchive):
        check(io.BytesIO(raw), lambda _: len(raw), BOUNDS)


def test_the_second_look_refuses_no_link_that_ends_inside() -> None:
    """By its text it leaves the archive; by way of the other link it does not."""
    members = [folder("a"), folder("a/b"), symlink("now", "a/b"), symlink("up", "now/../../x")]
    raw = packed([*members, file("x")])
    check(io.BytesIO(raw), lambda _: len(raw), BOUNDS)
