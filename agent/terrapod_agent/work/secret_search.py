"""Finds secrets in a text that grows, in a time that is linear in its bytes whatever they are.

An automaton finds the first bytes of all secrets at once (Aho-Corasick); a secret that is longer
is compared by hashes of the text, each of which takes the same time however long the secret is.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from functools import cache
from itertools import accumulate

from ahocorasick_rs import BytesAhoCorasick, Implementation

SHORTEST = 3
HEAD = 32  # so many bytes of a secret are found by the automaton
STEP = 4096  # between two hashes of a secret that is only partly there
_PRIME, _BASE = (1 << 61) - 1, 1_099_511_628_211
_TRIM = 1 << 20


class SecretIndex:
    """What is masked, prepared for any number of passes."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        kept = {secret for secret in secrets if len(secret) >= SHORTEST}
        self.heads = sorted({secret[:HEAD] for secret in kept})
        self.whole = [head in kept for head in self.heads]
        self.longer: dict[int, list[LongSecret]] = {}
        for secret in sorted(kept):
            if len(secret) > HEAD:
                at = bisect_left(self.heads, secret[:HEAD])
                self.longer.setdefault(at, []).append(LongSecret(secret))
        self._automaton: BytesAhoCorasick | None = None
        if self.heads:
            how = Implementation.ContiguousNFA
            self._automaton = BytesAhoCorasick(self.heads, implementation=how)

    def found(self, text: bytes) -> list[tuple[int, int, int]]:
        """Each head in ``text``: its number, its start and its end; also those that overlap."""
        if self._automaton is None:
            return []
        return self._automaton.find_matches_as_indexes(text, overlapping=True)

    def begins(self, text: bytes) -> bool:
        """Whether a head begins with ``text`` and goes on."""
        for head in self.heads[bisect_left(self.heads, text) :][:2]:
            if len(head) > len(text) and head.startswith(text):
                return True
        return False


class LongSecret:
    """A secret of which the automaton knows only the head."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.power = pow(_BASE, len(secret), _PRIME)
        self._hashes: list[int] = []

    def hash(self, length: int) -> int:
        """The hash of its first bytes: a multiple of a step, or all of them."""
        if not self._hashes:
            self._hashes = [0]
            for at in range(0, len(self.secret), STEP):
                self._hashes.append(_hashed(self.secret[at : at + STEP], self._hashes[-1])[-1])
        return self._hashes[-1 if length == len(self.secret) else length // STEP]


class RollingHashes:
    """Hashes of a text that grows: that of any part of it at once."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._sums = array("Q", [0])

    def add(self, text: bytes) -> None:
        """The text goes on."""
        self._sums.extend(_hashed(text, self._sums[-1])[1:])

    def range_hash(self, start: int, end: int, power: int) -> int:
        """The hash of a part; ``power`` is that of the base for its length."""
        first, last = self._sums[start - self._start], self._sums[end - self._start]
        return (last - first * power) % _PRIME

    def forget(self, before: int) -> None:
        """Nobody will ask for what begins before this position."""
        if before - self._start > _TRIM:
            del self._sums[: before - self._start]
            self._start = before


@cache
def base_power(runner: int) -> int:
    """The power of the base for so many steps."""
    return pow(_BASE, runner * STEP, _PRIME)


def _hashed(text: bytes, before: int) -> list[int]:
    return list(accumulate(text, _next_hash, initial=before))


def _next_hash(before: int, byte: int) -> int:
    return (before * _BASE + byte + 1) % _PRIME
