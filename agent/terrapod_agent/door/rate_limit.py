"""How often something may happen: a run that hammers its door is slowed down, not its agent."""

import time

import anyio


class RateLimiter:
    """So many at once, and so many a second after that."""

    def __init__(self, at_once: int, per_second: float) -> None:
        self._each = 1 / per_second
        self._ahead = at_once * self._each
        self._next = 0.0

    async def acquire(self) -> None:
        """Wait until it is one's turn."""
        now = time.monotonic()
        self._next = max(self._next, now - self._ahead) + self._each
        await anyio.sleep(max(0.0, self._next - now))

    def refund(self, share: float) -> None:
        """Have taken only a part, for what came to little."""
        self._next -= self._each * share
