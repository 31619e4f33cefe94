"""Events of no other meaning, who emits them, and who hears them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import anyio

from terrapod_common.loops import Backoff
from terrapod_control_plane.kernel import consumers, db, outbox_cursors
from terrapod_control_plane.kernel.consumers import Consumer, Delivery
from terrapod_control_plane.kernel.context import Context, Services, system
from terrapod_control_plane.kernel.outbox import Event

NAME = "test"


class Told(Event, frozen=True, kw_only=True):
    """Something of no other meaning, for consumers."""

    kind: ClassVar[str] = "thing.told"
    thing: str


async def emit(services: Services, *things: str) -> None:
    """One transaction in which these have happened."""
    async with db.transaction():
        for thing in things:
            await system(services).emit(Told(thing=thing))


class Hearer:
    """A consumer that keeps what it hears; ``deed`` may fail, or take its time."""

    def __init__(self) -> None:
        self.things: list[str] = []
        self.deliveries: list[Delivery] = []
        self._more = anyio.Event()

    async def take(self, ctx: Context, delivery: Delivery) -> None:
        """Keep it."""
        assert ctx.actor.kind == "system"
        assert isinstance(delivery.event, Told)
        self.deliveries.append(delivery)
        self.things.append(delivery.event.thing)
        self._more.set()
        self._more = anyio.Event()
        await self.deed(delivery.event.thing)

    async def deed(self, thing: str) -> None:
        """What is done at it."""

    async def come(self, number: int) -> None:
        """Wait until so many were heard."""
        await self.until(lambda: len(self.things) >= number)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that comes true with what is heard."""
        with anyio.fail_after(30):
            while not holds():
                await self._more.wait()

    def consumer(self, **options: Any) -> Consumer:
        """Who hears, without long waits."""
        usual: dict[str, Any] = {"backoff": Backoff(first=0.0), "events": (Told,)}
        return Consumer(name=NAME, handle=self.take, **usual | options)


class Failing(Hearer):
    """One that fails at an event called so, as long as it shall."""

    def __init__(self, thing: str) -> None:
        super().__init__()
        self.fails_at = thing

    async def deed(self, thing: str) -> None:
        if thing == self.fails_at:
            raise ValueError(f"no luck with {thing}")


class Slow(Hearer):
    """One that takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = anyio.Event()

    async def deed(self, thing: str) -> None:
        await self.may_end.wait()


@asynccontextmanager
async def reading(services: Services, *them: Consumer) -> AsyncIterator[None]:
    """These consumers at work until the block ends."""
    async with anyio.create_task_group() as tasks:
        for each in consumers.loops(them, services):
            tasks.start_soon(each.run)
        yield
        tasks.cancel_scope.cancel()


async def begin(services: Services) -> None:
    """From now on events are for the consumer, whether it reads or not."""
    await outbox_cursors.register([NAME], services.clock.now())


async def position() -> int:
    """Up to which event the consumer is done."""
    at: int = await db.value("select event from outbox_cursors where consumer = $1", NAME)
    return at


async def newest() -> int:
    """The last event."""
    at: int = await db.value("select max(id) from outbox")
    return at
