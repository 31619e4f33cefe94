"""The time of the database, which all processes on it share."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Self

import anyio
import structlog
from msgspec import Struct

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.bus import Bus
from terrapod_control_plane.kernel.clock import elapsed

_EVERY = 60.0  # seconds
_TRIES = 5
_SLOW = 1.0  # seconds: a round trip that tells too little
_JUMP = timedelta(seconds=1)
_TOPIC = "clock"  # nobody says it, but everybody is woken when the bus listens again

log = structlog.get_logger()


class Reading(Struct, frozen=True):
    """What the clock of the database said, when by our own, and how long the answer took."""

    told: datetime
    at: float
    took: float  # seconds


class DatabaseClock:
    """Goes on from the last reading: what is done to the clock of this machine does not count."""

    def __init__(self, monotonic: Callable[[], float] = elapsed) -> None:
        self._monotonic = monotonic
        self._set: Reading | None = None

    @classmethod
    async def connected(cls) -> Self:
        """A clock that was set already."""
        clock = cls()
        await clock.measure()
        return clock

    def now(self) -> datetime:
        """The present moment, in UTC; by this machine until the database has told it."""
        if self._set is None:
            return datetime.now(UTC)
        return self._set.told + timedelta(seconds=self._monotonic() - self._set.at)

    async def measure(self) -> None:
        """Ask the database some times and believe the quickest answer."""
        self.take(min([await self._read() for _ in range(_TRIES)], key=lambda one: one.took))

    async def _read(self) -> Reading:
        asked = self._monotonic()
        told = await db.value("select clock_timestamp()")
        answered = self._monotonic()
        # The answer was given somewhere in between, so half of the time is as far as it can be off.
        return Reading(told, (asked + answered) / 2, answered - asked)

    def take(self, reading: Reading) -> None:
        """Go by this reading from now on, unless it took so long that it could be wrong."""
        if reading.took > _SLOW and self._set is not None:
            return
        ours = self.now()
        first, self._set = self._set is None, reading
        off = self.now() - ours
        if abs(off) >= _JUMP:
            seconds = round(off.total_seconds(), 3)
            log.warning("the database's clock differs and counts", seconds=seconds, at_start=first)

    async def keep(self, bus: Bus) -> None:
        """Measure each minute, and when it listens to the database anew; a supervised loop."""
        while True:
            listening = bus.signal(_TOPIC)
            with anyio.move_on_after(_EVERY):
                await listening.wait()
            await self.measure()
