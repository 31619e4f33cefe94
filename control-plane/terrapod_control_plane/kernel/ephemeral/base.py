"""What may be lost: rate-limit buckets, one-time codes, presence."""

from __future__ import annotations

from typing import Protocol


class Ephemeral(Protocol):
    """A store whose values expire, and may vanish at any time before; ttl is in seconds."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None when it has expired or never was; a counter reads as its digits."""
        ...

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Replaces value and expiry."""
        ...

    async def take(self, key: str) -> bytes | None:
        """The value, which nobody else can get or take any more."""
        ...

    async def add(self, key: str, amount: int, ttl: float) -> int:
        """The counter after adding; its ttl starts with the first add and is not prolonged."""
        ...

    async def check(self) -> None:
        """Raises when the store cannot be used."""
        ...
