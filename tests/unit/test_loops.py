"""Loops that are kept running: what restarts them, what ends them, how long they wait."""

from collections.abc import Awaitable, Callable, Iterator
from itertools import islice

import anyio
import pytest
import structlog
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from terrapod_common.loops import Backoff, Fatal, Loop, Retries, supervise

pytestmark = pytest.mark.anyio

HOUR = 3600.0


class Planned(Backoff, frozen=True):
    """Waits as long as it is told, an hour after that."""

    seconds: tuple[float, ...] = ()

    def delays(self) -> Iterator[float]:
        yield from self.seconds
        while True:
            yield HOUR


class Turns:
    """The body of a loop, which counts how often it began and how often it was cut off."""

    def __init__(self, body: Callable[[], Awaitable[None]]) -> None:
        self.body = body
        self.begun = 0
        self.cut = 0

    async def run(self) -> None:
        self.begun += 1
        try:
            await self.body()
        except anyio.get_cancelled_exc_class():
            self.cut += 1
            raise


async def fail() -> None:
    raise ValueError("no luck")


async def go_on() -> None:
    await anyio.sleep_forever()


async def finish() -> None:
    await checkpoint()


async def settled(backoff: Backoff, **turns: Turns) -> list[float]:
    """Runs loops until all of them only wait, and stops; how long each failure is to wait."""
    stop = anyio.Event()
    loops = [Loop(name, each.run) for name, each in turns.items()]
    with structlog.testing.capture_logs() as lines, anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(supervise, loops, stop, backoff)
            await anyio.wait_all_tasks_blocked()
            stop.set()
    return [line["retry_in"] for line in lines if line["event"] == "loop failed"]


async def test_a_loop_that_fails_is_restarted_after_its_wait() -> None:
    failing = Turns(fail)
    waits = await settled(Planned(seconds=(0, 0)), failing=failing)
    assert waits == [0, 0, HOUR]
    assert failing.begun == 3


async def test_a_failure_is_told_with_its_loop_and_its_error() -> None:
    stop = anyio.Event()

    async def fail_and_stop() -> None:
        stop.set()
        raise ValueError("no luck")

    with structlog.testing.capture_logs() as lines, anyio.fail_after(20):
        await supervise([Loop("failing", fail_and_stop)], stop, Planned())
    assert [(line["loop"], line["log_level"]) for line in lines] == [("failing", "error")]
    assert lines[0]["exc_info"]


async def test_what_is_only_away_gets_a_line_without_a_trace() -> None:
    stop = anyio.Event()

    async def miss_and_stop() -> None:
        stop.set()
        raise ConnectionError("nobody there")

    def away(error: Exception) -> bool:
        return isinstance(error, ConnectionError)

    with structlog.testing.capture_logs() as lines, anyio.fail_after(20):
        await supervise([Loop("missing", miss_and_stop)], stop, Planned(), away)
    assert [(line["event"], line["reason"]) for line in lines] == [("a loop waits", "nobody there")]
    assert "exc_info" not in lines[0]


async def test_a_loop_that_fails_leaves_the_others_alone() -> None:
    steady = Turns(go_on)
    await settled(Planned(seconds=(0,)), failing=Turns(fail), steady=steady)
    assert steady.begun == 1


async def test_a_loop_that_was_healthy_for_long_begins_with_short_waits_again() -> None:
    always = Planned(seconds=(0, 0), healthy_after=-1)
    left = 5

    async def fail_five_times() -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ValueError("no luck")

    assert await settled(always, failing=Turns(fail_five_times)) == [0] * 5


async def test_a_loop_that_returns_has_finished() -> None:
    short, steady = Turns(finish), Turns(go_on)
    assert await settled(Planned(seconds=(0,) * 9), short=short, steady=steady) == []
    assert (short.begun, steady.begun, steady.cut) == (1, 1, 1)


async def test_the_supervisor_stays_although_all_loops_have_finished() -> None:
    stop, ended = anyio.Event(), anyio.Event()

    async def watch() -> None:
        await supervise([Loop("short", finish)], stop, Planned())
        ended.set()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            assert not ended.is_set()
            stop.set()
    assert ended.is_set()


async def test_a_fatal_error_ends_everything() -> None:
    steady = Turns(go_on)

    async def give_up() -> None:
        await anyio.wait_all_tasks_blocked()
        raise Fatal("revoked")

    loops = [Loop("steady", steady.run), Loop("fatal", give_up)]
    with anyio.fail_after(20), pytest.raises(BaseExceptionGroup) as caught:
        await supervise(loops, anyio.Event(), Planned(seconds=(0,) * 9))
    assert [str(error) for error in caught.value.exceptions] == ["revoked"]
    assert isinstance(caught.value.exceptions[0], Fatal)
    assert (steady.begun, steady.cut) == (1, 1)


async def test_stop_ends_all_of_them_in_their_work_and_in_their_waits() -> None:
    first, second, failing = Turns(go_on), Turns(go_on), Turns(fail)
    waits = await settled(Planned(), first=first, second=second, failing=failing)
    assert (first.cut, second.cut) == (1, 1)
    assert (waits, failing.begun) == ([HOUR], 1)


async def test_what_fails_is_tried_later_and_later_and_told_once() -> None:
    now, tried = 0.0, list[tuple[float, str]]()
    retries = Retries(Backoff(first=1, longest=4), lambda: now)

    async def act(item: str) -> None:
        tried.append((now, item))
        if item == "bad" and now < 20:
            raise ValueError(item)

    with structlog.testing.capture_logs() as told:
        for second in range(24):
            now = float(second)
            await retries.each(["bad", "good"], act)
            assert ("bad" in retries.waiting) == (second < 23)
    assert [at for at, item in tried if item == "bad"] == [0, 1, 3, 7, 11, 15, 19, 23]
    assert len([item for _, item in tried if item == "good"]) == 24
    assert [line["log_level"] for line in told] == ["error", "info"]


@given(st.floats(0.01, 100), st.floats(0.01, 1000))
def test_waits_stay_below_a_ceiling_that_doubles_up_to_the_longest(
    first: float, longest: float
) -> None:
    backoff = Backoff(first=first, longest=max(first, longest))
    for number, wait in enumerate(islice(backoff.delays(), 20)):
        assert 0 <= wait <= min(first * 2**number, backoff.longest)


def test_waits_are_spread_over_all_that_the_ceiling_allows() -> None:
    backoff = Backoff(first=1, longest=8)
    for ceiling, waits in zip(
        (1, 2, 4, 8, 8),
        zip(*(islice(backoff.delays(), 5) for _ in range(300)), strict=True),
        strict=True,
    ):
        assert min(waits) < ceiling / 4
        assert max(waits) > ceiling * 3 / 4
