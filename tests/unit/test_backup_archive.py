"""The archive of a backup: each byte is what was put in, in memory that does not grow."""

import io
import tarfile
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from terrapod_control_plane.backup import archive, restoring, sealing
from terrapod_control_plane.backup.archive import ArchiveReader, ArchiveWriter, Header, Manifest
from terrapod_control_plane.backup.making import CONTEXT
from terrapod_control_plane.backup.sealing import SealedWriter, WrongSecret
from terrapod_control_plane.backup.tar import BadBackup
from terrapod_control_plane.kernel.crypto.keys import KeyRing

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RING = KeyRing.generate()
HEADER = Header(
    format=archive.FORMAT,
    terrapod="0.1.0",
    made_at=NOW,
    epoch=0,
    migrations=["one"],
    tables=[],
    with_keys=False,
)
FRAME = 256 * 1024


class Quick(msgspec.Struct, frozen=True):
    """A passphrase that costs no time."""

    text: str = "secret"

    def key(self) -> tuple[sealing.Head, bytes]:
        return sealing.Head(salt="AAAA"), self.key_of(sealing.Head())

    def key_of(self, head: sealing.Head) -> bytes:
        return sha256(self.text.encode()).digest()


def written(write: Callable[[bytes], object], members: int, size: int = 10) -> None:
    """An archive with so many members."""
    made = ArchiveWriter(write, NOW)
    made.add(archive.HEADER, msgspec.json.encode(HEADER))
    for number in range(members):
        made.add(f"blobs/state/ws-1/sv-{number}", bytes([number % 251]) * size)
    manifest = msgspec.json.encode(
        Manifest(
            header=HEADER,
            tables=[],
            stores={},
            sequences={},
            digests=made.digests(),
            members=made.members,
        )
    )
    signature = RING.sign(sha256(manifest).digest(), CONTEXT)
    made.finish(manifest, signature.encode())


def plain(members: int) -> bytes:
    out = io.BytesIO()
    written(out.write, members)
    return out.getvalue()


def sealed(content: bytes, piece: int = 1000) -> bytes:
    out = io.BytesIO()
    writer = SealedWriter(out.write, Quick())
    for start in range(0, len(content), piece):
        writer.write(content[start : start + piece])
    writer.finish()
    return out.getvalue()


def unsealed(raw: bytes, text: str = "secret") -> bytes:
    return sealing.opened(io.BytesIO(raw), partial(Quick, text))(2**40)


@pytest.mark.parametrize("members", [0, 1, 998, 999, 1000, 2500])
def test_all_members_are_checked(members: int) -> None:
    reader = ArchiveReader(io.BytesIO(plain(members)).read)
    assert restoring.check(reader, RING).members == members + 1
    assert reader.peek() is None


def test_other_programs_read_it_too() -> None:
    with tarfile.open(fileobj=io.BytesIO(plain(3))) as tar:
        content = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    for line in content["digests/000001"].decode().splitlines():
        digest, _, name = line.partition("  ")
        assert sha256(content[name]).hexdigest() == digest


def test_other_keys_have_not_signed_it() -> None:
    with pytest.raises(BadBackup, match="not made with these keys"):
        restoring.check(ArchiveReader(io.BytesIO(plain(3)).read), KeyRing.generate())


@pytest.mark.parametrize("gone", ["blobs/state/ws-1/sv-1", "manifest.json", "digests/000001"])
def test_a_member_that_is_gone_is_missed(gone: str) -> None:
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(plain(3))) as whole,
        tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as less,
    ):
        for info in whole:
            if info.name != gone:
                less.addfile(info, whole.extractfile(info))
    with pytest.raises(BadBackup):
        restoring.check(ArchiveReader(io.BytesIO(out.getvalue()).read), RING)


def test_each_byte_of_a_small_archive_counts() -> None:
    raw = plain(2)
    content = restoring.check(ArchiveReader(io.BytesIO(raw).read), RING)
    for at in range(0, len(raw), 7):
        other = bytearray(raw)
        other[at] ^= 4
        try:
            found = restoring.check(ArchiveReader(io.BytesIO(bytes(other)).read), RING)
        except BadBackup:
            continue
        assert found == content  # it was padding, or a field of a header that nobody reads


@pytest.mark.parametrize("wrap", [bytes, sealed])
def test_an_archive_that_is_cut_off_anywhere_is_noticed(wrap: Callable[[bytes], bytes]) -> None:
    raw = wrap(plain(2))
    for kept in range(0, len(raw), 101):
        read = partial(sealing.opened, io.BytesIO(raw[:kept]), Quick)
        with pytest.raises(BadBackup):
            restoring.check(ArchiveReader(read()), RING)


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME])
def test_what_was_sealed_is_read(size: int) -> None:
    assert unsealed(sealed(bytes(size), 100_000)) == bytes(size)


def test_no_frame_can_be_dropped_repeated_reordered_or_cut_off() -> None:
    raw = sealed(bytes(range(256)) * 4096, FRAME)  # four frames
    step, end = FRAME + 16, len(raw)
    first = end - 4 * step
    frames = [raw[first + n * step : first + (n + 1) * step] for n in range(4)]
    for order in ([0, 1, 2], [0, 2, 3], [0, 1, 1, 2, 3], [1, 0, 2, 3], [3, 0, 1, 2]):
        with pytest.raises(BadBackup):
            unsealed(raw[:first] + b"".join(frames[n] for n in order))
    assert unsealed(raw[:first] + b"".join(frames)) == bytes(range(256)) * 4096


def test_another_secret_opens_nothing() -> None:
    with pytest.raises(WrongSecret):
        unsealed(sealed(b"x"), "other")


def test_a_head_may_not_ask_for_all_memory() -> None:
    with pytest.raises(BadBackup, match="more memory"):
        sealing.Passphrase("x").key_of(sealing.Head(salt="AAAA", n=2**30, r=8, p=1))


@pytest.mark.parametrize("raw", [b"", b"x", b"no archive at all" * 100, sealing.MAGIC, bytes(2000)])
def test_what_is_no_archive_is_told_so(raw: bytes) -> None:
    with pytest.raises(BadBackup):
        ArchiveReader(sealing.opened(io.BytesIO(raw), Quick))


def peak(act: Callable[[], object]) -> int:
    """How much memory something takes at most."""
    tracemalloc.start()
    act()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_memory_does_not_grow_with_the_archive() -> None:
    few, many = (partial(written, lambda _: None, members, 50_000) for members in (1500, 6000))
    assert peak(many) < peak(few) + 200_000


@pytest.mark.parametrize(
    ("less", "more"), [((1500, 10_000), (6000, 10_000)), ((4, 2_000_000), (4, 20_000_000))]
)
def test_nor_does_it_where_an_archive_is_read(
    tmp_path: Path, less: tuple[int, int], more: tuple[int, int]
) -> None:
    def reading(members: int, size: int) -> int:
        file = tmp_path / f"{members}-{size}"
        with file.open("wb") as out:
            writer = SealedWriter(out.write, Quick())
            written(writer.write, members, size)
            writer.finish()
        with file.open("rb") as sealed:
            read = sealing.opened(sealed, Quick)
            return peak(lambda: restoring.check(ArchiveReader(read), RING))

    assert reading(*more) < reading(*less) + 400_000
