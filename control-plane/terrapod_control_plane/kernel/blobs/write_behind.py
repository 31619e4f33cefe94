"""Work in a thread, one piece behind what the event loop takes."""

import asyncio
from collections.abc import Callable
from typing import Any


class WriteBehind:
    """Pieces of work of one task, done one after the other in threads."""

    def __init__(self) -> None:
        self._under_way: asyncio.Future[Any] | None = None

    async def begin(self, work: Callable[..., object], *arguments: object) -> None:
        """Begin a piece of work once the one before has ended; raises what that one raised."""
        await self.settle()
        loop = asyncio.get_running_loop()
        self._under_way = loop.run_in_executor(None, work, *arguments)

    async def settle(self) -> None:
        """Wait for the work under way; raises what it raised."""
        if self._under_way is not None:
            # Who stops waiting stops no thread, and has to wait for it again.
            await asyncio.wait([self._under_way])
            done, self._under_way = self._under_way, None
            done.result()

    async def leave(self) -> None:
        """Wait for the end of the work under way, whatever comes of it."""
        if self._under_way is not None:
            await asyncio.wait([self._under_way])
            self._under_way.exception()  # else asyncio says that nobody has looked
            self._under_way = None
