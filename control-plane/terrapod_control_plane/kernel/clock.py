"""Time as an argument: whoever needs to know it is given a clock."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time and can be slept on; tests move it by hand."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        return datetime.now(UTC)


def elapsed() -> float:
    """Seconds since some moment, those too in which the machine was suspended if it tells."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def text(moment: datetime) -> str:
    """RFC 3339 with a ``Z``, the only form that every client reads."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
