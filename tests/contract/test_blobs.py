"""What every blob store does, and what sealing adds."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrapod_control_plane.kernel.blobs.base import BadKey, BlobMissing, Blobs, once, whole
from terrapod_control_plane.kernel.blobs.local import LocalBlobs
from terrapod_control_plane.kernel.blobs.sealed import BlobDamaged, SealedBlobs
from terrapod_control_plane.kernel.crypto.keys import KeyMissing, KeyRing

pytestmark = pytest.mark.anyio

FRAME = 64 * 1024
RING = KeyRing.generate()
SIZES = [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 5 * FRAME + 17]
KINDS: dict[str, Callable[[Path], Blobs]] = {
    "local": LocalBlobs,
    "sealed": lambda root: SealedBlobs(LocalBlobs(root), RING),
}


@pytest.fixture(params=KINDS)
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return KINDS[request.param](tmp_path / "blobs")


def some(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def pieces(data: bytes, size: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def part(blobs: Blobs, key: str, start: int, length: int | None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(key, start, length)])


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [1000, FRAME, 10 * FRAME])
async def test_what_was_put_is_read(blobs: Blobs, size: int, piece: int) -> None:
    data = some(size)
    assert await blobs.put("states/ws-1/sv-1", pieces(data, piece)) == size
    assert await whole(blobs, "states/ws-1/sv-1") == data
    assert await blobs.size("states/ws-1/sv-1") == size


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
async def test_any_part_can_be_read(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    blobs = KINDS[kind](tmp_path_factory.mktemp("blobs"))
    near = st.integers(-2, 2)
    border = st.builds(lambda frame, off: max(0, frame * FRAME + off), st.integers(0, 4), near)
    content = some(data.draw(border))
    start = data.draw(border)
    length = data.draw(st.none() | border | st.integers(0, 100))
    await blobs.put("log", once(content))
    end = None if length is None else start + length
    assert await part(blobs, "log", start, length) == content[start:end]


async def test_a_missing_blob_is_missing(blobs: Blobs) -> None:
    with pytest.raises(BlobMissing):
        await whole(blobs, "plans/plan-1")
    with pytest.raises(BlobMissing):
        await blobs.size("plans/plan-1")
    await blobs.delete("plans/plan-1")


async def test_a_folder_is_not_a_blob(blobs: Blobs) -> None:
    await blobs.put("plans/plan-1", once(b"x"))
    for key in ("plans", "plans/plan-1/json"):
        with pytest.raises(BlobMissing):
            await whole(blobs, key)
        with pytest.raises(BlobMissing):
            await blobs.size(key)
        await blobs.delete(key)


async def test_a_deleted_blob_is_gone(blobs: Blobs) -> None:
    await blobs.put("plans/plan-1", once(b"x"))
    await blobs.delete("plans/plan-1")
    with pytest.raises(BlobMissing):
        await blobs.size("plans/plan-1")


async def test_a_blob_is_replaced(blobs: Blobs) -> None:
    await blobs.put("a/b", once(some(FRAME * 2)))
    await blobs.put("a/b", once(b"new"))
    assert await whole(blobs, "a/b") == b"new"


async def test_a_broken_upload_changes_nothing(blobs: Blobs, tmp_path: Path) -> None:
    async def breaks() -> AsyncGenerator[bytes, None]:
        yield some(5 * FRAME)
        raise ConnectionResetError

    await blobs.put("a/b", once(b"old"))
    before = files(tmp_path)
    with pytest.raises(ConnectionResetError):
        await blobs.put("a/b", breaks())
    assert await whole(blobs, "a/b") == b"old"
    assert files(tmp_path) == before


async def test_a_cancelled_upload_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    started = anyio.Event()

    async def stalls() -> AsyncGenerator[bytes, None]:
        yield some(5 * FRAME)
        started.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(blobs.put, "a/b", stalls())
        await started.wait()
        group.cancel_scope.cancel()
    assert files(tmp_path) == set()


async def test_a_reader_keeps_the_blob_it_opened(blobs: Blobs) -> None:
    data = some(20 * FRAME)
    await blobs.put("a", once(data))
    async with aclosing(blobs.read("a")) as reader:
        got = await anext(reader)
        await blobs.put("a", once(b"other"))
        rest = [chunk async for chunk in reader]
    assert b"".join([got, *rest]) == data


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", ".incoming/x", "a\0b"]
)
async def test_keys_cannot_leave_the_store(blobs: Blobs, key: str) -> None:
    with pytest.raises(BadKey):
        await blobs.put(key, once(b"x"))
    with pytest.raises(BadKey):
        await whole(blobs, key)
    with pytest.raises(BadKey):
        await blobs.size(key)
    with pytest.raises(BadKey):
        await blobs.delete(key)


async def test_many_at_once(blobs: Blobs) -> None:
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(blobs.put, f"deep/{number % 3}/{number}", once(some(number)))
    for number in range(20):
        assert await whole(blobs, f"deep/{number % 3}/{number}") == some(number)


async def test_check_sweeps_old_leftovers_only(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    await LocalBlobs(root).check()
    old, new = root / ".incoming" / "old", root / ".incoming" / "new"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, 0))
    await LocalBlobs(root).check()
    assert files(root) == {".incoming/new"}


async def test_check_tells_what_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("not a folder")
    with pytest.raises(OSError):
        await LocalBlobs(tmp_path / "blobs").check()


@pytest.fixture
async def sealed(tmp_path: Path) -> tuple[SealedBlobs, Path]:
    blobs = SealedBlobs(LocalBlobs(tmp_path), RING)
    await blobs.put("log", once(some(3 * FRAME + 100)))
    return blobs, tmp_path / "log"


HEADER, SEALED = 256, FRAME + 16


def swapped(raw: bytes) -> bytes:
    first, second = raw[HEADER : HEADER + SEALED], raw[HEADER + SEALED : HEADER + 2 * SEALED]
    return raw[:HEADER] + second + first + raw[HEADER + 2 * SEALED :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[: HEADER + 3 * SEALED],
        lambda raw: raw[: HEADER + SEALED],
        lambda raw: raw[:HEADER],
        lambda raw: raw[:10],
        lambda raw: raw[:0],
        lambda raw: raw + b"x",
        lambda raw: raw + bytes(SEALED),
        lambda raw: raw[:HEADER] + raw[HEADER + SEALED :],
        swapped,
        lambda raw: raw[:20] + bytes([raw[20] ^ 1]) + raw[21:],
        lambda raw: raw[: HEADER - 1] + b"x" + raw[HEADER:],
        lambda raw: raw[: HEADER + 5] + bytes([raw[HEADER + 5] ^ 1]) + raw[HEADER + 6 :],
    ],
)
async def test_damage_is_noticed(
    sealed: tuple[SealedBlobs, Path], damage: Callable[[bytes], bytes]
) -> None:
    blobs, path = sealed
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises((BlobDamaged, KeyMissing)):
        await whole(blobs, "log")


async def test_a_cut_off_end_does_not_look_like_the_end(sealed: tuple[SealedBlobs, Path]) -> None:
    blobs, path = sealed
    path.write_bytes(path.read_bytes()[: HEADER + 2 * SEALED])
    for start in (FRAME, 2 * FRAME, 3 * FRAME + 50):
        with pytest.raises(BlobDamaged):
            await part(blobs, "log", start, None)


async def test_a_part_needs_only_its_frames(sealed: tuple[SealedBlobs, Path]) -> None:
    blobs, path = sealed
    raw = bytearray(path.read_bytes())
    raw[HEADER] ^= 1
    raw[HEADER + 2 * SEALED] ^= 1
    path.write_bytes(raw)
    assert await part(blobs, "log", FRAME, FRAME) == some(3 * FRAME + 100)[FRAME : 2 * FRAME]


async def test_a_blob_under_another_key_does_not_open(sealed: tuple[SealedBlobs, Path]) -> None:
    blobs, path = sealed
    path.rename(path.with_name("other"))
    with pytest.raises(BlobDamaged):
        await whole(blobs, "other")


async def test_without_its_key_a_blob_names_what_is_missing(tmp_path: Path) -> None:
    await SealedBlobs(LocalBlobs(tmp_path), KeyRing.parse(RING.export())).put("log", once(b"x"))
    key_id = RING.export().partition(":")[0]
    with pytest.raises(KeyMissing, match=key_id):
        await whole(SealedBlobs(LocalBlobs(tmp_path), KeyRing.generate()), "log")


async def test_nothing_plain_is_stored(tmp_path: Path) -> None:
    await SealedBlobs(LocalBlobs(tmp_path), RING).put("state", once(b"password" * 1000))
    assert b"password" not in (tmp_path / "state").read_bytes()


async def test_small_ones_are_put_and_read_at_once(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    await blobs.put_whole("states/ws-1/sv-1", b"whole")
    assert await whole(blobs, "states/ws-1/sv-1") == b"whole"
    assert await blobs.read_whole("states/ws-1/sv-1", 5) == b"whole"
    assert await blobs.read_whole("states/ws-1/sv-1", 4) is None
    with pytest.raises(BlobMissing):
        await blobs.read_whole("states/ws-1/sv-2", 5)
    assert files(tmp_path / "blobs") == {"states/ws-1/sv-1"}


async def test_keys_are_found_by_their_folder(blobs: Blobs) -> None:
    assert [key async for key in blobs.below()] == []
    for key in ("states/ws-1/sv-1", "states/ws-2/sv-1", "log/ws-1/plan-1"):
        await blobs.put(key, once(b"x"))
    assert {key async for key in blobs.below("states/")} == {"states/ws-1/sv-1", "states/ws-2/sv-1"}
    assert [key async for key in blobs.below("states/ws-2/")] == ["states/ws-2/sv-1"]
    assert {key async for key in blobs.below()} >= {"log/ws-1/plan-1"}
    assert [key async for key in blobs.below("none/")] == []
