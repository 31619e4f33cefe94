"""Work that nobody asks for: woken by a timer or a topic, takes no input, safe to run twice."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from msgspec import Struct

from terrapod_common.loops import Loop
from terrapod_control_plane.kernel.context import Context, Services, system


class Job(Struct, frozen=True, kw_only=True):
    """What to do, how often at the least, and what wakes it before that.

    An exclusive job runs in one process of all replicas at a time. It opens the transactions that
    it needs; the lock is none, so it may speak to a network. When the lock is lost with its
    connection, the turn is cancelled where it waits: what it had committed stays.
    """

    name: str
    run: Callable[[Context], Awaitable[None]]
    every: float  # seconds
    wake_on: str = ""
    exclusive: bool = False


def loop(job: Job, services: Services) -> Loop:
    """The job as a supervised loop."""
    return Loop(job.name, partial(_repeat, job, services))


async def _repeat(job: Job, services: Services) -> None:
    while True:
        woken = services.bus.signal(job.wake_on or job.name)
        await turn(job, services)
        await _either(woken, job.every)


async def turn(job: Job, services: Services) -> None:
    """One turn of a job; an exclusive one only if no other process is at it."""
    context = system(services)
    if not job.exclusive:
        await job.run(context)
        return
    async with services.locks.held(f"job:{job.name}") as mine:
        if mine:
            await job.run(context)


async def _either(woken: anyio.Event, seconds: float) -> None:
    with anyio.move_on_after(seconds):
        await woken.wait()
