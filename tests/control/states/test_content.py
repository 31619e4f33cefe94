"""What a state says of itself, and what is stored of it."""

import contextlib
import hashlib
import json
import sys
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec
import pytest

from terrapod_control_plane.kernel.blobs.base import BlobMissing, once
from terrapod_control_plane.kernel.blobs.local import LocalBlobs
from terrapod_control_plane.kernel.blobs.sealed import SealedBlobs
from terrapod_control_plane.kernel.crypto.keys import KeyRing
from terrapod_control_plane.kernel.errors import Unavailable, Unprocessable
from terrapod_control_plane.kernel.readers import Readers
from terrapod_control_plane.states import content
from terrapod_control_plane.states.content import BadState
from terrapod_control_plane.states.model import Parsed, ParsedOutput, StateResource

pytestmark = pytest.mark.anyio

T = TypeVar("T", ParsedOutput, StateResource)

RESOURCE = {
    "mode": "managed",
    "type": "null_resource",
    "name": "a",
    "provider": "p",
    "instances": [{}, {}],
}
DATA = {"mode": "data", "type": "http", "name": "b", "module": "module.m", "instances": [{}]}


def state(padding: int = 0) -> bytes:
    """A state file."""
    return json.dumps(
        {
            "version": 4,
            "terraform_version": "1.11.4",
            "serial": 7,
            "lineage": "l",
            "outputs": {
                "one": {"value": "x" * padding, "type": "string"},
                "two": {"value": [1], "type": ["tuple", ["number"]], "sensitive": True},
                "old": {"value": None},
            },
            "resources": [RESOURCE, DATA],
        }
    ).encode()


def excerpted(read: Parsed, of: type[T]) -> list[T]:
    """What is in all excerpts of a kind."""
    kind = "resources" if of is StateResource else "outputs"
    packs = [zlib.decompress(one.content) for one in read.excerpts if one.kind == kind]
    return [thing for pack in packs for thing in msgspec.json.decode(pack, type=list[of])]  # type: ignore[valid-type]


def test_facts_of_a_state() -> None:
    read = content.parsed(state())
    assert (read.serial, read.lineage, read.terraform_version) == (7, "l", "1.11.4")
    assert read.resource_count == 2
    assert [(r.type, r.count, r.module) for r in excerpted(read, StateResource)] == [
        ("null_resource", 2, "root"),
        ("data.http", 1, "module.m"),
    ]
    outputs = excerpted(read, ParsedOutput)
    assert [(o.name, o.type, o.sensitive) for o in outputs] == [
        ("old", "dynamic", False),
        ("one", "string", False),
        ("two", "array", True),
    ]
    assert read.output_count == 3
    assert outputs[2].detailed_type == msgspec.Raw(b'["tuple",["number"]]')


@pytest.mark.parametrize(
    ("count", "padding", "excerpts"),
    [(0, 0, []), (100, 0, [100]), (250, 0, [100, 100, 50]), (3, 200_000, [1, 1, 1])],
)
def test_excerpts_are_never_large(count: int, padding: int, excerpts: list[int]) -> None:
    outputs = {f"o{n:03}": {"value": "x" * padding, "type": "string"} for n in range(count)}
    read = content.parsed(json.dumps({"serial": 1, "outputs": outputs}).encode())
    assert [one.count for one in read.excerpts] == excerpts
    assert [one.first for one in read.excerpts] == [sum(excerpts[:n]) for n in range(len(excerpts))]
    assert [o.name for o in excerpted(read, ParsedOutput)] == list(outputs)


def test_only_the_first_resources_are_kept_but_all_are_counted() -> None:
    many = [RESOURCE | {"name": f"r{n}"} for n in range(1500)]
    read = content.parsed(json.dumps({"serial": 1, "resources": many}).encode())
    assert (len(excerpted(read, StateResource)), read.resource_count) == (1000, 3000)


def test_an_encrypted_state_is_taken_as_it_is() -> None:
    envelope = {"serial": 3, "lineage": "l", "meta": {}, "encrypted_data": "AAAA"}
    read = content.parsed(json.dumps(envelope).encode())
    assert (read.serial, read.excerpts, read.output_count) == (3, [], 0)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"lineage": "l"}', b'{"serial": -1}', b'{"serial": "1"}', b"\xff"]
)
def test_what_is_no_state(text: bytes) -> None:
    with pytest.raises(BadState):
        content.parsed(text)


async def test_a_stored_content_is_described(tmp_path: Path) -> None:
    blobs, body = LocalBlobs(tmp_path), state()
    md5 = hashlib.md5(body).hexdigest()
    stored = await content.store(blobs, "state/a/b", pieces(body), seconds=9, md5=md5.upper())
    assert (stored.size, stored.md5) == (len(body), md5)
    assert stored.sha256 == hashlib.sha256(body).hexdigest()
    assert b"".join([chunk async for chunk in blobs.read("state/a/b")]) == body


@pytest.mark.parametrize(("body", "md5"), [(b"no state", ""), (state(), "0" * 32)])
async def test_nothing_stays_of_a_bad_content(tmp_path: Path, body: bytes, md5: str) -> None:
    blobs = LocalBlobs(tmp_path)
    with pytest.raises(Unprocessable):
        await content.store(blobs, "state/a/b", once(body), seconds=9, md5=md5)
    with pytest.raises(BlobMissing):
        await blobs.size("state/a/b")


async def pieces(body: bytes, size: int = 10) -> AsyncIterator[bytes]:
    """A body in small chunks."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


LARGE = 3 * 1024 * 1024


def large(padding: int = LARGE) -> bytes:
    """A state that is read in another process."""
    return state(padding)


@pytest.mark.parametrize("size", [100, 200_000, LARGE, 30 * 1024 * 1024])
async def test_what_is_read_while_it_passes_is_what_was_stored(tmp_path: Path, size: int) -> None:
    blobs = SealedBlobs(LocalBlobs(tmp_path), KeyRing.generate())
    body = state(size)
    stored = await content.store(blobs, "state/a/b", pieces(body, 77_777), seconds=60)
    kept = b"".join([chunk async for chunk in blobs.read("state/a/b")])
    assert kept == body
    assert stored.parsed == content.parsed(kept)
    assert stored.parsed == await content.again(blobs, "state/a/b", seconds=60)
    assert (stored.md5, stored.size) == (hashlib.md5(body).hexdigest(), len(body))


async def test_a_state_for_which_there_is_no_room_is_read_from_where_it_was_stored(
    tmp_path: Path,
) -> None:
    blobs, body = LocalBlobs(tmp_path), state(content.KEPT_AT_MOST)
    with content.Passing(seconds=60) as passing:
        await blobs.put("state/a/b", pieces(body, 1_000_000), passing)
        assert passing.read is None
    stored = await content.store(blobs, "state/a/b", pieces(body, 1_000_000), seconds=60)
    assert (stored.parsed.serial, stored.parsed.output_count) == (7, 3)


async def test_a_large_content_that_is_no_state_is_not_stored(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    with pytest.raises(Unprocessable, match="not a state"):
        await content.store(blobs, "state/a/b", once(large()[:-1]), seconds=60)
    assert [key async for key in blobs.below()] == []


@pytest.mark.parametrize("size", [LARGE, content.KEPT_AT_MOST])
async def test_a_state_that_is_not_read_in_time_is_refused_and_taken_the_next_time(
    tmp_path: Path, size: int
) -> None:
    blobs, body = LocalBlobs(tmp_path), large(size)
    hanging = Readers(1, program=[sys.executable, "-c", "import signal; signal.pause()"])
    for _ in range(2):  # the place is free again
        with pytest.raises(Unavailable, match="in time"), anyio.fail_after(40):
            await content.store(
                blobs, "state/a/b", pieces(body, 1_000_000), seconds=0.2, readers=hanging
            )
    hanging.end()
    stored = await content.store(blobs, "state/a/b", pieces(body, 1_000_000), seconds=60)
    assert stored.parsed.serial == 7


@pytest.mark.parametrize("size", [LARGE, content.KEPT_AT_MOST])
async def test_a_state_is_refused_for_now_where_no_process_can_be_started(
    tmp_path: Path, size: int
) -> None:
    """Agents give up a state over which the server stumbles, but not one for which it is away."""
    none, body = Readers(1, program=["/nonexistent"]), large(size)
    with pytest.raises(Unavailable):
        await content.store(
            LocalBlobs(tmp_path), "state/a/b", pieces(body, 1_000_000), seconds=60, readers=none
        )


async def test_many_states_at_once_hold_little(tmp_path: Path) -> None:
    """However many are on their way, and whether they go on or not."""
    blobs, body, before = LocalBlobs(tmp_path), large(20_000_000), held()
    most = 0

    async def upload(number: int) -> None:
        nonlocal most
        await content.store(blobs, f"state/a/{number}", pieces(body, 256 * 1024), seconds=120)
        most = max(most, held() - before)

    async with anyio.create_task_group() as tasks:
        for number in range(16):
            tasks.start_soon(upload, number)
    assert 0 < most <= (content.KEPT_AT_MOST + 2 * len(body)) * 1.2


def held() -> int:
    """Bytes of memories that this process shares with those that read."""
    found = 0
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if number.readlink().name.startswith("memfd:terrapod"):
                found += number.stat().st_size
    return found
