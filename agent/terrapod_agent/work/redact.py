"""Masks secrets in a stream of bytes, also where a chunk ends in the middle of one.

The result depends on the bytes alone, not on how they were cut: after a crash the log is masked
again from its first byte and must come out the same, or offsets would not fit.
"""

import base64
import re
from collections.abc import Iterable, Iterator

MASK = b"***"
SHORTEST = 3
_SHORTEST_LINE = 6  # lines of a longer value, and text inside of HCL
_SHORTEST_ENCODED = 6  # an encoded form that is shorter would mask ordinary words
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"')


class Redactor:
    """Feed it bytes, get masked bytes; what may be the start of a secret is held back."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = sorted({s for s in secrets if len(s) >= SHORTEST}, key=len, reverse=True)
        self._held = b""
        self._covered = 0  # so many of the held bytes belong to a secret that is already masked

    def feed(self, data: bytes) -> bytes:
        """Mask the next bytes."""
        return self._masked(data, final=False)

    def finish(self) -> bytes:
        """What was held back, once there is no more."""
        return self._masked(b"", final=True)

    def _masked(self, data: bytes, *, final: bool) -> bytes:
        text = self._held + data
        settled = len(text) if final else self._settled(text)
        out, at, covered = [], 0, self._covered
        for start, end in self._found(text, settled):
            # Secrets that overlap are one mask: the rest of the second must not show.
            if start >= covered:
                out += [text[max(at, covered) : start], MASK]
            at, covered = start, max(covered, end)
        out.append(text[max(at, covered) : settled])
        self._held, self._covered = text[settled:], max(0, covered - settled)
        return b"".join(out)

    def _settled(self, text: bytes) -> int:
        """The first position from which more bytes could still make a secret."""
        first = len(text)
        for secret in self._secrets:
            at = text.find(secret[:1], max(0, len(text) - len(secret) + 1), first)
            while at >= 0 and not secret.startswith(text[at:]):
                at = text.find(secret[:1], at + 1, first)
            first = at if at >= 0 else first
        return first

    def _found(self, text: bytes, settled: int) -> list[tuple[int, int]]:
        found = []
        for secret in self._secrets:
            at = text.find(secret)
            while 0 <= at < settled:
                found.append((at, at + len(secret)))
                at = text.find(secret, at + 1)
        return sorted(found)


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
