"""Keeps loops running: restart on failure, stop together, never die quietly."""

import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import anyio
import structlog
from msgspec import Struct

log = structlog.get_logger()
T = TypeVar("T")


class Fatal(Exception):
    """The process can't go on at all: its identity was revoked, its version is refused."""


class Loop(Struct, frozen=True):
    """One thing that is done over and over: ``run`` goes on until it fails or is done."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]


class Backoff(Struct, frozen=True):
    """Growing waits with full jitter, so that a fleet does not come back in one wave."""

    first: float = 1.0
    longest: float = 60.0
    healthy_after: float = 30.0

    def delays(self) -> Iterator[float]:
        """Seconds to wait before each next try."""
        for ceiling in self.waits():
            yield random.uniform(0, ceiling)  # noqa: S311 - jitter, not a secret

    def waits(self) -> Iterator[float]:
        """The longest that each of them may be."""
        ceiling = self.first
        while True:
            yield ceiling
            ceiling = min(ceiling * 2, self.longest)


def _never(_: Exception) -> bool:
    return False


async def supervise(
    loops: Sequence[Loop],
    stop: anyio.Event,
    backoff: Backoff,
    away: Callable[[Exception], bool] = _never,
) -> None:
    """Run every loop until ``stop`` is set or one of them raises :class:`Fatal`.

    A failure that is ``away``, of something that others tell of, gets one line without its trace.
    """
    async with anyio.create_task_group() as tasks:
        for loop in loops:
            tasks.start_soon(_keep_running, loop, backoff, away, name=loop.name)
        await stop.wait()
        tasks.cancel_scope.cancel("stopping")


async def each(items: Iterable[T], act: Callable[[T], Awaitable[None]]) -> None:
    """Act on every item; one that fails is told in the log and does not keep the others."""
    for item in items:
        try:
            await act(item)
        except Exception:
            log.exception("an item failed", item=str(item))


class Retries:
    """Items that failed: each is tried again later and later, and told of when it first fails."""

    def __init__(self, backoff: Backoff, now: Callable[[], float] = time.monotonic) -> None:
        self._backoff = backoff
        self._now = now
        self._failed: dict[str, tuple[float, Iterator[float]]] = {}

    @property
    def waiting(self) -> list[str]:
        """Those whose next try is still to come."""
        return [item for item, (at, _) in self._failed.items() if at > self._now()]

    async def each(self, items: Iterable[T], act: Callable[[T], Awaitable[None]]) -> None:
        """Act on every item that does not wait; none that fails keeps the others."""
        waiting = set(self.waiting)
        for item in items:
            name = str(item)
            if name in waiting:
                continue
            try:
                await act(item)
            except Exception:
                if name not in self._failed:
                    log.exception("an item failed and is tried again", item=name)
                delays = self._failed.get(name, (0.0, self._backoff.waits()))[1]
                self._failed[name] = (self._now() + next(delays), delays)
            else:
                if self._failed.pop(name, None):
                    log.info("an item that had failed is done", item=name)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """What a group of exceptions holds in the end; a single one is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


async def _keep_running(loop: Loop, backoff: Backoff, away: Callable[[Exception], bool]) -> None:
    delays = backoff.delays()
    while True:
        started = time.monotonic()
        try:
            await loop.run()
        except Fatal:
            raise
        except Exception as error:
            if time.monotonic() - started > backoff.healthy_after:
                delays = backoff.delays()
            delay = next(delays)
            told = {"loop": loop.name, "retry_in": round(delay, 2)}
            if away(error):
                log.warning("a loop waits", reason=str(error), **told)
            else:
                log.exception("loop failed", **told)
            await anyio.sleep(delay)
        else:
            return  # a loop that returns has finished for good
