"""Whether this process still hears what others commit: it calls itself by way of the database.

PostgreSQL delivers messages in the order of their commits. So when a call has come back, all that
was committed before the call was made has been heard, and a call that is younger than a second
proves that nothing older than a second was missed.
"""

import math
import secrets
from collections.abc import Callable

import anyio

from terrapod_control_plane.kernel.clock import elapsed

COUNTS_FOR = 1.0  # seconds


class Echo:
    """The calls of one process; only the last one is waited for."""

    def __init__(self, monotonic: Callable[[], float] = elapsed) -> None:
        self._monotonic = monotonic
        # Of this process alone: the call of another one proves nothing here.
        self._name = secrets.token_hex(8)
        self._number = 0
        self._topic, self._called_at = "", -math.inf
        self._heard_until = -math.inf
        self._wanted = anyio.Event()

    def fresh(self) -> bool:
        """Whether all was heard that is older than a second. Who asks makes the next call due."""
        self._wanted.set()
        return self._monotonic() < self._heard_until + COUNTS_FOR

    async def wanted(self) -> None:
        """Until somebody asks: a process that nobody asks anything calls nobody."""
        await self._wanted.wait()
        self._wanted = anyio.Event()

    def call(self) -> str:
        """The topic to send now; its way to the database and back counts as time that passed."""
        self._number += 1
        self._topic, self._called_at = f"echo:{self._name}:{self._number}", self._monotonic()
        return self._topic

    def heard(self, topic: str) -> None:
        """Any topic came back."""
        if topic == self._topic:
            self._heard_until = self._called_at

    def lost(self) -> None:
        """The connection that listens is gone: from now on nothing is heard."""
        self._topic, self._heard_until = "", -math.inf
        self._wanted.set()
