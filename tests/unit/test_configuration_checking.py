"""An archive that is checked while it comes, and what comes too fast or finds no place."""

import gzip
import io
import random
import tarfile
import zlib
from collections.abc import Callable, Iterator

import pytest

from terrapod_control_plane.configurations.archive import BadArchive, Bounds, check
from terrapod_control_plane.configurations.checking import Arriving, Checking
from terrapod_control_plane.configurations.unzipping import Unzipped

pytestmark = pytest.mark.anyio

BOUNDS = Bounds(
    bytes_at_most=50_000_000, files_at_most=1000, ratio_at_most=10, ratio_free_bytes=100_000
)
NOISE = random.Random(3).randbytes(700_000)


def packed(*contents: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for number, content in enumerate(contents):
            info = tarfile.TarInfo(f"f{number}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def pieces(raw: bytes, size: int = 10_000) -> Iterator[bytes]:
    for start in range(0, len(raw), size):
        yield raw[start : start + size]


async def passed(raw: bytes) -> Checking:
    with Checking(BOUNDS) as checking:
        for piece in pieces(raw):
            assert checking.update(piece) == piece
        checking.finalize()
        await checking.before_publish()
    return checking


async def test_a_good_archive_has_been_checked_when_all_has_come() -> None:
    raw = packed(NOISE, b"text")
    assert (await passed(raw)).checked
    assert (await passed(raw)).size == len(raw)


@pytest.mark.parametrize(
    "raw",
    [b"", b"none", packed(NOISE)[:-1], packed(NOISE)[:-9] + b"x" * 9, packed(NOISE) + b"x"],
    ids=["nothing", "no gzip", "cut", "another checksum", "something behind it"],
)
async def test_a_bad_one_is_refused(raw: bytes) -> None:
    with pytest.raises(BadArchive):
        await passed(raw)


async def test_it_may_be_small_at_first_where_it_is_large_enough_in_the_end() -> None:
    """The ratio is that of the whole, as for an archive that was stored before it is checked."""
    zeros = bytes(3_000_000)
    assert (await passed(packed(zeros, NOISE))).checked
    with pytest.raises(BadArchive, match="unpacks to more than"):
        await passed(packed(zeros, NOISE[:1000]))


async def test_without_a_place_nothing_is_checked_until_one_is_free() -> None:
    raw = packed(NOISE)
    with Checking(BOUNDS), Checking(BOUNDS), Checking(BOUNDS), Checking(BOUNDS):
        assert not (await passed(raw)).checked
    while not (await passed(raw)).checked:  # the others end in their own time
        pass


def test_what_comes_too_fast_is_left() -> None:
    arriving = Arriving()
    assert arriving.add(bytes(8 * 1024 * 1024))
    assert not arriving.add(b"x")


def plain(reading: Callable[[int], bytes], size: int) -> bytes:
    return b"".join(iter(lambda: reading(size), b""))


@pytest.mark.parametrize("size", [1000, 65_536, 10_000_000])
@pytest.mark.parametrize(
    "raw",
    [
        gzip.compress(b"a" * 5_000_000),
        gzip.compress(NOISE) + gzip.compress(b"more"),
        gzip.compress(NOISE) + bytes(100_000) + gzip.compress(b"more") + bytes(3),
        gzip.compress(b""),
        b"",
    ],
    ids=["repeated", "two", "zeros", "empty", "nothing"],
)
def test_unzipping_gives_what_gzip_gives(raw: bytes, size: int) -> None:
    with gzip.open(io.BytesIO(raw)) as other:
        assert plain(Unzipped(io.BytesIO(raw)).read, size) == other.read()


@pytest.mark.parametrize("end", [1, 5, 20, 300_000])
def test_unzipping_misses_an_end(end: int) -> None:
    with pytest.raises((EOFError, zlib.error)):
        plain(Unzipped(io.BytesIO(gzip.compress(NOISE)[:-end])).read, 65_536)


def test_one_byte_at_a_time_is_enough() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 1))

    check(Slow(packed(b"text")), lambda _: 10_000, BOUNDS)
