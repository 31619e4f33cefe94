"""Whether the server answers: one line when it goes away, one when it is back."""

import time

import structlog

from terrapod_agent.errors import RequestDenied, ServerUnavailable

log = structlog.get_logger()


class Connectivity:
    """Remembers how the last exchange went, for the log and for `status`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet  # for a command that tells its user itself
        self.last_answer: float | None = None  # wall clock of the last answer
        self.problem = "no contact yet"
        self._away_since: float | None = None

    @property
    def connected(self) -> bool:
        """Whether the last exchange brought an answer."""
        return not self.problem

    def mark_answered(self) -> None:
        """The server said something."""
        if self._away_since is not None:
            gone = round(time.monotonic() - self._away_since, 1)
            log.info("the server is back", away_seconds=gone)
        self.last_answer, self.problem, self._away_since = time.time(), "", None

    def mark_unavailable(self, trouble: ServerUnavailable) -> None:
        """The server did not answer in a usable way."""
        self.problem = str(trouble)
        if self._away_since is None:
            self._away_since = time.monotonic()
            if not self._quiet:
                log.warning("the server is away, trying on", reason=str(trouble))

    def mark_refused(self, denied: RequestDenied) -> None:
        """The server does not take this agent for one of its own."""
        if self.problem != str(denied) and not self._quiet:
            log.warning("the server refuses this agent", reason=str(denied))
        self.problem = str(denied)
