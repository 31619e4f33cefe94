"""Watches the embedded PostgreSQL and starts it again when it dies."""

import os
import sys
import time
from collections.abc import Awaitable, Callable

import anyio
import structlog

from terrapod_common.loops import Backoff, Fatal
from terrapod_control_plane.kernel.postgres.embedded import Embedded
from terrapod_control_plane.kernel.postgres.home import PostgresFailed

log = structlog.get_logger()

_LOOK_EVERY = 0.02
_BACKOFF = Backoff(first=0.2, longest=10.0)


class PostgresGone(PostgresFailed, Fatal):
    """It can't be started again, so a supervisor has to begin anew; the message says why."""


class Watch:
    """Keeps an embedded server running; gives up after ``patience`` seconds without one.

    Runs in the main thread: see :class:`Embedded`. ``tell`` hears at once that it has ended.
    """

    def __init__(
        self,
        embedded: Embedded,
        patience: float,
        tell: Callable[[str], None],
        *,
        backoff: Backoff = _BACKOFF,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._embedded = embedded
        self._patience = patience
        self._tell = tell
        self._backoff = backoff
        self._sleep = sleep

    async def keep(self) -> None:
        """Runs as a supervised loop."""
        while True:
            await self._end()
            how = self._embedded.last_words()
            self._tell(f"the embedded PostgreSQL has ended: {how}")
            log.error("the embedded PostgreSQL has ended", how=how)
            began = time.monotonic()
            await self._start_again()
            took = round(time.monotonic() - began, 2)
            log.warning("the embedded PostgreSQL runs again", after_seconds=took)

    async def _end(self) -> None:
        if sys.platform == "linux":
            try:
                handle = os.pidfd_open(self._embedded.pid)
            except ProcessLookupError:
                return
            try:
                await anyio.wait_readable(handle)
            finally:
                os.close(handle)
        while self._embedded.running:  # noqa: ASYNC110 - elsewhere a child has nothing to await
            await anyio.sleep(_LOOK_EVERY)

    async def _start_again(self) -> None:
        why = "it was still recovering"
        with anyio.move_on_after(self._patience):
            for delay in self._backoff.delays():
                try:
                    self._embedded.start_again()
                    while not self._embedded.came_up():  # noqa: ASYNC110 - it tells by a file
                        await anyio.sleep(_LOOK_EVERY)
                except PostgresFailed as error:
                    why = str(error)
                    log.warning("PostgreSQL not started", reason=why, retry_in=round(delay, 2))
                    await self._sleep(delay)
                else:
                    return
        raise PostgresGone(
            f"the embedded PostgreSQL ended and could not be started again within "
            f"{self._patience:g} s: {why}"
        )
