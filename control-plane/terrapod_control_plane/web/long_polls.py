"""Answers that wait for something to happen, and notice a client leaving meanwhile."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from terrapod_control_plane.web.params import AnyRequest

T = TypeVar("T")


async def unless_gone(request: AnyRequest, attempt: Callable[[], Awaitable[T | None]]) -> T | None:
    """What the attempt finds; given up as soon as the client has left.

    A dead poll must not claim: its answer would reach nobody.
    """
    found: T | None = None
    try:
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                async for _ in request.stream():
                    pass  # else the end of the body would be taken for the client's leaving
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel("the client left")

            tasks.start_soon(watch)
            found = await attempt()
            tasks.cancel_scope.cancel("answered")
    except BaseExceptionGroup as failed:
        # What was refused has to reach the error handlers as itself.
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from None
        raise
    return found
