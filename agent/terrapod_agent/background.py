"""Things done beside the main thing, for exactly as long as it takes."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio

from terrapod_common.loops import leaves


@asynccontextmanager
async def in_background(
    *background: Callable[[], Coroutine[Any, Any, None]],
) -> AsyncIterator[None]:
    """Run ``background`` while the body runs. An exception comes out bare, not in a group."""
    try:
        async with anyio.create_task_group() as tasks:
            for run in background:
                tasks.start_soon(run)
            yield
            tasks.cancel_scope.cancel("the main thing is done")
    except BaseExceptionGroup as group:
        raise single_error(group) from group.__cause__


def single_error(error: BaseException) -> BaseException:
    """The one error in a group, or the first of several of one kind; else the group as it is.

    Several loops may be told at the same moment that the server does not know the agent.
    """
    found = list(leaves(error))
    return found[0] if len({type(leaf) for leaf in found}) == 1 else error
