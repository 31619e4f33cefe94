"""Tries again while the server is away."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from terrapod_agent.errors import RequestFailed, ServerUnavailable
from terrapod_common.loops import Backoff

T = TypeVar("T")
_BROKEN_AT_MOST = 8


async def retry(attempt: Callable[[], Awaitable[T]], backoff: Backoff) -> T:
    """What ``attempt`` gives once the server answers; tries for as long as it takes.

    A server that is there but fails at this request again and again counts as a refusal.
    """
    delays, broken = backoff.delays(), 0
    while True:
        try:
            return await attempt()
        except ServerUnavailable as away:
            broken = broken + 1 if away.broken else 0
            if broken >= _BROKEN_AT_MOST:
                raise RequestFailed(f"{away} ({broken} times)", 500) from away
            await anyio.sleep(max(next(delays), away.retry_after or 0.0))
