"""What the server knows of the parts it stands on: in memory, so that asking costs nothing.

The server looks at them by itself. What it saw counts for a while only, so that a server whose
loops stand still is not taken for a healthy one.
"""

from collections.abc import Callable, Mapping, Sequence

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.outbox_lag import Lag

# A look may take this long, with its time limits, and a little more.
_LONGEST_LOOK = 15.0


class Condition:
    """Part -> what is wrong with it, empty when nothing is."""

    def __init__(self, monotonic: Callable[[], float], *, every: float) -> None:
        self.paused = False  # nothing is handed out, after a restore
        self.lags: Sequence[Lag] = ()  # of the consumers of events
        self._monotonic = monotonic
        self._counts_for = every + _LONGEST_LOOK
        self._seen: dict[str, str] = {}
        self._at: float | None = None

    def saw(self, found: Mapping[str, str]) -> None:
        """All parts have been looked at."""
        self._seen |= found
        self._at = self._monotonic()

    def trouble(self, part: str) -> str:
        """What is wrong with a part."""
        if self._at is None or self._monotonic() - self._at > self._counts_for:
            return "it has not been looked at"
        return self._seen.get(part, "it has not been looked at")


class ReadOnlyError(OSError):
    """The database answers, but stores nothing."""


async def try_database(*, write: bool) -> None:
    """Raises when the database can't be used; with ``write``, also by a record in its log."""
    if await db.value("select current_setting('transaction_read_only') = 'on'"):
        raise ReadOnlyError("the database is read-only")
    if write:
        # A commit with a record needs what every commit needs, and leaves no row behind.
        await db.value("select pg_logical_emit_message(true, 'terrapod', 'ready')")
