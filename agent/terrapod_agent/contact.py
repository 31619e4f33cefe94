"""Whether the server answers: one line when it goes away, one when it is back."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import structlog

from terrapod_agent.trouble import Away, Denied
from terrapod_common.loops import Backoff

log = structlog.get_logger()
T = TypeVar("T")
_BROKEN_AT_MOST = 8


class Contact:
    """Remembers how the last exchange went, for the log and for `status`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet  # for a command that tells its user itself
        self.last: float | None = None  # wall clock of the last answer
        self.trouble = "no contact yet"
        self._away_since: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the last exchange brought an answer."""
        return not self.trouble

    def answered(self) -> None:
        """The server said something."""
        if self._away_since is not None:
            gone = round(time.monotonic() - self._away_since, 1)
            log.info("the server is back", away_seconds=gone)
        self.last, self.trouble, self._away_since = time.time(), "", None

    def missed(self, trouble: Away) -> None:
        """The server did not answer in a usable way."""
        self.trouble = str(trouble)
        if self._away_since is None:
            self._away_since = time.monotonic()
            if not self._quiet:
                log.warning("the server is away, trying on", reason=str(trouble))

    def refused(self, denied: Denied) -> None:
        """The server does not take this agent for one of its own."""
        if self.trouble != str(denied) and not self._quiet:
            log.warning("the server refuses this agent", reason=str(denied))
        self.trouble = str(denied)


async def insist(attempt: Callable[[], Awaitable[T]], backoff: Backoff) -> T:
    """What ``attempt`` gives once the server answers; tries for as long as it takes.

    A server that is there but fails at this request again and again counts as a refusal.
    """
    delays, broken = backoff.delays(), 0
    while True:
        try:
            return await attempt()
        except Away as away:
            broken = broken + 1 if away.broken else 0
            if broken >= _BROKEN_AT_MOST:
                raise Denied(f"{away} ({broken} times)", 500) from away
            await anyio.sleep(max(next(delays), away.retry_after or 0.0))
