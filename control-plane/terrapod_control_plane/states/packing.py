"""How outputs and resources of a state are kept: packed, so many at a time, and sealed.

A state may have hundreds of thousands of either. One row for each would take seconds to write, to
read and to delete; so a row holds as many as one page of a list shows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import msgspec

from terrapod_control_plane.states.model import Excerpt, Excerpted, ParsedOutput, StateResource

if TYPE_CHECKING:  # a process that reads a state is started without what seals it
    from terrapod_control_plane.kernel.crypto.keys import KeyRing

T = TypeVar("T", ParsedOutput, StateResource)

IN_ONE = 100  # of them in one excerpt, at most
_BYTES_IN_ONE = 256 * 1024  # a longer one stands alone
RESOURCES_AT_MOST = 1000  # are kept of a state; their count is of all


def packed(kind: Excerpted, things: Iterable[StateResource | ParsedOutput]) -> Iterator[Excerpt]:
    """The things in their order, in excerpts."""
    first, size, waiting = 0, 0, list[bytes]()
    for thing in things:
        text = msgspec.json.encode(thing)
        if waiting and (len(waiting) == IN_ONE or size + len(text) > _BYTES_IN_ONE):
            yield _excerpt(kind, first, waiting)
            first, size, waiting = first + len(waiting), 0, []
        waiting.append(text)
        size += len(text)
    if waiting:
        yield _excerpt(kind, first, waiting)


def _excerpt(kind: Excerpted, first: int, texts: list[bytes]) -> Excerpt:
    packer = zlib.compressobj(1)
    # One after the other, for a copy of a large one takes as long as packing it.
    pieces = [piece for text in texts for piece in (b",", text)]
    made = [packer.compress(piece) for piece in (b"[", *pieces[1:], b"]")]
    content = b"".join([*made, packer.flush()])
    return Excerpt(kind=kind, first=first, count=len(texts), content=content)


def sealed(ring: KeyRing, version: str, excerpts: Iterable[Excerpt]) -> list[bytes]:
    """The contents of excerpts as they are stored."""
    return [ring.seal(one.content, _context(version, one)) for one in excerpts]


def opened(ring: KeyRing, version: str, excerpt: Excerpt, of: type[T]) -> list[T]:
    """What an excerpt with a sealed content holds."""
    plain = zlib.decompress(ring.open(excerpt.content, _context(version, excerpt)))
    return msgspec.json.decode(plain, type=list[of])  # type: ignore[valid-type]


def _context(version: str, excerpt: Excerpt) -> str:
    return f"{excerpt.kind}:{version}:{excerpt.first}:{excerpt.count}"
