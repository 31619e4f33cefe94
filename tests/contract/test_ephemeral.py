"""What every ephemeral store does."""

from __future__ import annotations

import pytest

from terrapod_control_plane.kernel.ephemeral.base import Ephemeral
from terrapod_control_plane.kernel.ephemeral.memory import MemoryEphemeral

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Ephemeral:
    return MemoryEphemeral(clock)


async def test_a_value_is_there_until_it_expires(store: Ephemeral, clock: Clock) -> None:
    await store.set("code", b"1", ttl=10)
    clock.now += 9.9
    assert await store.get("code") == b"1"
    clock.now += 0.1
    assert await store.get("code") is None
    assert await store.take("code") is None


async def test_setting_again_replaces_value_and_expiry(store: Ephemeral, clock: Clock) -> None:
    await store.set("code", b"1", ttl=10)
    clock.now += 9
    await store.set("code", b"2", ttl=10)
    clock.now += 9
    assert await store.get("code") == b"2"


async def test_a_value_is_taken_once(store: Ephemeral) -> None:
    await store.set("code", b"1", ttl=10)
    assert await store.take("code") == b"1"
    assert await store.take("code") is None
    assert await store.get("code") is None


async def test_a_counter_counts_within_its_window(store: Ephemeral, clock: Clock) -> None:
    assert await store.add("bucket", 1, ttl=60) == 1
    clock.now += 59
    assert await store.add("bucket", 2, ttl=60) == 3
    assert await store.get("bucket") == b"3"
    clock.now += 1
    assert await store.add("bucket", 1, ttl=60) == 1


async def test_a_counter_may_go_down(store: Ephemeral) -> None:
    await store.add("viewers", 2, ttl=60)
    assert await store.add("viewers", -3, ttl=60) == -1


async def test_it_can_be_used(store: Ephemeral) -> None:
    await store.check()


async def test_memory_is_bounded_and_the_oldest_goes_first(clock: Clock) -> None:
    store = MemoryEphemeral(clock, limit=3)
    for number in range(5):
        await store.set(f"key-{number}", b"x", ttl=60)
    found = [await store.get(f"key-{number}") for number in range(5)]
    assert found == [None, None, b"x", b"x", b"x"]


async def test_expired_entries_make_room_first(clock: Clock) -> None:
    store = MemoryEphemeral(clock, limit=3)
    await store.set("old but alive", b"x", ttl=3600)
    await store.set("brief", b"x", ttl=1)
    await store.set("also alive", b"x", ttl=3600)
    clock.now += 5
    await store.set("new", b"x", ttl=60)
    assert await store.get("old but alive") == b"x"
    assert await store.get("brief") is None
