"""The ephemeral store of a single process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

_SWEEP_EVERY = 1.0


class _Entry(NamedTuple):
    value: bytes
    expires: float


class MemoryEphemeral:
    """Keeps at most `limit` entries; beyond it the oldest written goes first."""

    def __init__(self, monotonic: Callable[[], float], *, limit: int = 100_000) -> None:
        self._monotonic = monotonic
        self._limit = limit
        self._entries: dict[str, _Entry] = {}
        self._next_sweep = monotonic()

    async def get(self, key: str) -> bytes | None:
        """The value, or None when it has expired or never was."""
        entry = self._live(key)
        return entry.value if entry else None

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Replaces value and expiry."""
        self._store(key, _Entry(value, self._monotonic() + ttl))

    async def take(self, key: str) -> bytes | None:
        """The value, which nobody else can get or take any more."""
        entry = self._live(key)
        self._entries.pop(key, None)
        return entry.value if entry else None

    async def add(self, key: str, amount: int, ttl: float) -> int:
        """The counter after adding; its ttl starts with the first add."""
        entry = self._live(key) or _Entry(b"0", self._monotonic() + ttl)
        total = int(entry.value) + amount
        self._store(key, entry._replace(value=b"%d" % total))
        return total

    async def check(self) -> None:
        """Memory can always be used."""

    def _live(self, key: str) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires <= self._monotonic():
            del self._entries[key]
            return None
        return entry

    def _store(self, key: str, entry: _Entry) -> None:
        self._entries.pop(key, None)
        if len(self._entries) >= self._limit:
            self._make_room()
        self._entries[key] = entry

    def _make_room(self) -> None:
        now = self._monotonic()
        # A flood of live keys must not cost a walk over all of them with each write.
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_EVERY
            self._entries = {key: e for key, e in self._entries.items() if e.expires > now}
        while len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
