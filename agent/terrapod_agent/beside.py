"""Things done beside the main thing, for exactly as long as it takes."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
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
    """The one error in a group, or the first of several of one kind; else the group as it is.

    Several loops may be told at the same moment that the server does not know the agent.
    """
    leaves = list(_leaves(error))
    return leaves[0] if len({type(leaf) for leaf in leaves}) == 1 else error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
