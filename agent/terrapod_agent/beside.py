"""Things done beside the main thing, for exactly as long as it takes."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio


@asynccontextmanager
async def beside(*background: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run ``background`` while the body runs. An exception comes out bare, not in a group."""
    try:
        async with anyio.create_task_group() as tasks:
            for run in background:
                tasks.start_soon(run)
            yield
            tasks.cancel_scope.cancel("the main thing is done")
    except BaseExceptionGroup as group:
        raise alone(group) from group.__cause__


def alone(error: BaseException) -> BaseException:
    """The one error in a group of one; anything else as it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
