"""What agents wait for costs memory while they wait, and none after that."""

import gc
import weakref

import anyio
import anyio.lowlevel
import pytest

from terrapod_control_plane.kernel.bus import Bus
from tests.kit.control import Agent, Control

pytestmark = pytest.mark.anyio


async def test_folders_that_an_agent_names_are_forgotten(control: Control, listener: Agent) -> None:
    """Each was a line of up to 4096 characters that stayed until the server ended."""
    for number in range(50):
        listener.root = f"/{'x' * 4000}/{number}"
        assert await listener.claim(f"k{number}") is None
    assert not control.services.bus.lines


async def test_a_line_stays_while_somebody_stands_in_it_and_no_longer() -> None:
    bus, found = Bus(), list[str]()
    open_ = anyio.Event()

    async def attempt() -> str | None:
        return "work" if open_.is_set() else None

    async def wait() -> None:
        if (work := await bus.first_in_line("topic", attempt, 30, line="plan")) is not None:
            found.append(work)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert (*bus.lines, bus.waiting("topic")) == ("topic plan", 1)
            open_.set()
            while len(found) < 3:
                bus.wake("topic")
                await anyio.lowlevel.checkpoint()
    assert found == ["work"] * 3
    assert not bus.lines
    assert not bus.waiting("topic")


async def test_signals_that_nobody_waits_for_are_forgotten() -> None:
    bus, made = Bus(), list[weakref.ref[anyio.Event]]()
    for number in range(1000):

        async def attempt(topic: str = f"orders:{number}") -> None:
            made.append(weakref.ref(bus.signal(topic)))

        await bus.first(f"orders:{number}", attempt, 0.0)
    gc.collect()
    assert sum(ref() is not None for ref in made) <= 1  # the last may still be on its way out
    held = bus.signal("held")
    assert bus.signal("held") is held
    bus.wake("held")
    assert held.is_set()
    assert bus.signal("held") is not held


async def test_who_waits_is_woken_when_all_are() -> None:
    bus = Bus()
    one, another = bus.signal("one"), bus.signal("another")
    bus.wake_all()
    assert one.is_set()
    assert another.is_set()
    third = bus.signal("third")
    bus.close()
    assert third.is_set()
