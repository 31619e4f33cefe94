"""A clock that tests move by hand."""

from datetime import UTC, datetime, timedelta


class MovableClock:
    """Runs with the machine's clock, ahead by as much as it was moved.

    Certificates and tokens are checked against the real time by OpenSSL, so it never stands.
    """

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """The present moment, in UTC."""
        return datetime.now(UTC) + self._ahead

    def move(self, seconds: float) -> None:
        """Goes ahead."""
        self._ahead += timedelta(seconds=seconds)

    def reset(self) -> None:
        """Tells the real time again."""
        self._ahead = timedelta(0)
