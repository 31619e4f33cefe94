"""Masks secrets in a stream of bytes, also where a chunk ends in the middle of one.

The result depends on the bytes alone, not on how they were cut: after a crash the log is masked
again from its first byte and must come out the same, or offsets would not fit.
"""

import base64
import re
from collections import deque
from collections.abc import Iterable, Iterator

from terrapod_agent.errors import OperationFailed
from terrapod_agent.work.secret_search import (
    HEAD,
    SHORTEST,
    STEP,
    LongSecret,
    RollingHashes,
    SecretIndex,
    base_power,
)

MASK = b"***"
MOST_BYTES = 64 * 1024 * 1024  # of all forms of all values
MOST_FORMS = 100_000
_SHORTEST_LINE = 6  # lines of a longer value, and text inside of HCL
_SHORTEST_ENCODED = 6  # an encoded form that is shorter would mask ordinary words
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')


class Redactor:
    """Feed it bytes, get masked bytes; what may be the start of a secret is held back."""

    def __init__(self, secrets: Iterable[bytes] | SecretIndex) -> None:
        self._secrets = secrets if isinstance(secrets, SecretIndex) else SecretIndex(secrets)
        self._held = bytearray()
        self._start = 0  # where the held bytes lie in the whole text, as all positions below
        self._masked: list[tuple[int, int]] = []  # parts that are secret, in order, not touching
        self._covered = 0  # what lies before belongs to a secret that is already masked
        self._waiting: dict[LongSecret, deque[int]] = {}  # where a longer secret may begin
        self._hashes: RollingHashes | None = None

    def feed(self, data: bytes) -> bytes:
        """Mask the next bytes."""
        if not self._secrets.heads:
            return data
        self._search(data)
        return self._out(self._settled())

    def finish(self) -> bytes:
        """What was held back, once there is no more."""
        self._waiting.clear()
        return self._out(self._end)

    @property
    def _end(self) -> int:
        return self._start + len(self._held)

    def _search(self, data: bytes) -> None:
        known = len(self._held)
        self._held += data
        first = max(0, known - HEAD + 1)
        found, begin = [], self._start + first
        for number, start, end in self._secrets.found(bytes(self._held[first:])):
            if first + end <= known:
                continue
            if self._secrets.whole[number]:
                found.append((begin + start, begin + end))
            for long in self._secrets.longer.get(number, ()):
                self._waiting.setdefault(long, deque()).append(begin + start)
        self._hash(data)
        for long, starts in list(self._waiting.items()):
            found += self._decided(long, starts)
        if found:
            self._masked = _merged([*self._masked, *found])

    def _hash(self, data: bytes) -> None:
        """Go on with the hashes, which are made only while a longer secret may be there."""
        if not self._waiting:
            self._hashes = None
            return
        first = min(starts[0] for starts in self._waiting.values())
        if self._hashes is None:
            self._hashes = RollingHashes(first)
            data = bytes(self._held[first - self._start :])
        self._hashes.add(data)
        self._hashes.forget(first)

    def _decided(self, long: LongSecret, starts: deque[int]) -> Iterator[tuple[int, int]]:
        length, end = len(long.secret), self._end
        while starts:
            first = starts[0]
            if first + length > end:
                if self._may_be(long, first, end - first):
                    return
            elif self._is(long, first):
                yield first, first + length
                # Of those that begin within it, the last one covers all before it.
                within = []
                while starts and starts[0] < first + length and starts[0] + length <= end:
                    within.append(starts.popleft())
                last = next((start for start in reversed(within) if self._is(long, start)), first)
                yield last, last + length
                continue
            starts.popleft()
        del self._waiting[long]

    def _is(self, long: LongSecret, start: int) -> bool:
        assert self._hashes is not None
        length = len(long.secret)
        return self._hashes.range_hash(start, start + length, long.power) == long.hash(length)

    def _may_be(self, long: LongSecret, start: int, there: int) -> bool:
        """Whether the text ends in the first bytes of a longer secret."""
        known = there - there % STEP
        rest = self._held[start + known - self._start :]
        if rest != long.secret[known:there]:
            return False
        assert self._hashes is not None
        power = base_power(known // STEP)
        return self._hashes.range_hash(start, start + known, power) == long.hash(known)

    def _settled(self) -> int:
        """The first position from which more bytes could still make a secret."""
        first = min((starts[0] for starts in self._waiting.values()), default=self._end)
        for start in range(max(self._start, self._end - HEAD + 1), first):
            if self._secrets.begins(bytes(self._held[start - self._start :])):
                return start
        return first

    def _out(self, settled: int) -> bytes:
        out, at, covered = [], self._start, self._covered
        count = 0
        for start, end in self._masked:
            if start >= settled:
                break
            # Secrets that overlap are one mask: the rest of the second must not show.
            if start >= covered:
                out += [self._text(max(at, covered), start), MASK]
            at, covered, count = start, max(covered, end), count + 1
        out.append(self._text(max(at, covered), settled))
        del self._masked[:count]
        del self._held[: settled - self._start]
        self._start, self._covered = settled, covered
        return b"".join(out)

    def _text(self, start: int, end: int) -> bytes:
        return bytes(self._held[max(0, start - self._start) : max(0, end - self._start)])


def refuse_too_many(secrets: list[bytes]) -> None:
    """Raise :class:`OperationFailed` when these are more than can be masked."""
    size = sum(map(len, secrets))
    if size > MOST_BYTES or len(secrets) > MOST_FORMS:
        raise OperationFailed(
            f"the sensitive values of the run are too large to be masked in its log: {size} bytes"
            f" in {len(secrets)} forms, of {MOST_BYTES} bytes in {MOST_FORMS} forms at most"
        )


def _merged(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping parts made one; parts that only touch stay two."""
    parts.sort()
    merged = parts[:1]
    for start, end in parts[1:]:
        last = merged[-1]
        if start < last[1]:
            merged[-1] = (last[0], max(last[1], end))
        else:
            merged.append((start, end))
    return merged


def forms(value: str, *, hcl: bool = False) -> set[bytes]:
    """The shapes in which a sensitive value may show up in a log."""
    found: set[bytes] = set()
    for text in {value.encode(), value.strip().encode()}:
        found |= {text, _escaped(text), text.replace(b"\n", b"\r\n")}
        found.add(_web_safe(_escaped(text)))
        found |= set(_encoded(text))
        lines = [line.strip() for line in text.splitlines()]
        if len(lines) > 1:
            long = [line for line in lines if len(line) >= _SHORTEST_LINE]
            found |= {*long, *map(_escaped, long)}
    if hcl:
        # The quoted parts of an expression are what terraform prints.
        for inner in _QUOTED.findall(value.encode()):
            found |= {inner, *_encoded(inner)} if len(inner) >= SHORTEST else set()
    return {form for form in found if len(form) >= SHORTEST}


def _escaped(text: bytes) -> bytes:
    for plain, escape in ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\t", b"\\t")):
        text = text.replace(plain, escape)
    return text


def _web_safe(text: bytes) -> bytes:
    """As terraform's own ``jsonencode`` writes what could be taken for a tag."""
    for plain, escape in ((b"&", b"\\u0026"), (b"<", b"\\u003c"), (b">", b"\\u003e")):
        text = text.replace(plain, escape)
    return text


def _encoded(text: bytes) -> Iterator[bytes]:
    """Base64 in the three ways that it can lie in a longer encoded text."""
    if len(text) < SHORTEST:
        return
    yield base64.b64encode(text)
    for shift in range(3):
        # Only the digits that depend on nothing but the secret.
        encoded = base64.b64encode(b"\0" * shift + text).rstrip(b"=")
        first = (0, 2, 3)[shift]
        last = len(encoded) if (shift + len(text)) % 3 == 0 else len(encoded) - 1
        inner = encoded[first:last]
        if len(inner) >= _SHORTEST_ENCODED:
            yield inner
            yield inner.translate(bytes.maketrans(b"+/", b"-_"))
