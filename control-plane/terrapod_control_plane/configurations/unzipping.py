"""Unpacks gzip as it comes: in large pieces, and never more at a time than is asked for."""

import zlib
from typing import Protocol

_PIECE = 64 * 1024  # packed; what is left of one is copied each time
_GZIP = 16 + zlib.MAX_WBITS


class ByteSource(Protocol):
    """Bytes from their beginning."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        ...


class Unzipped:
    """What is packed in one gzip member or in several; zeros behind a member are left out."""

    def __init__(self, packed: ByteSource) -> None:
        self._packed = packed
        self._waiting = b""  # packed, and not unpacked yet
        self._member = zlib.decompressobj(_GZIP)
        self._between = False  # behind a member, before another one
        self._empty = True  # nothing has come at all

    def read(self, size: int) -> bytes:
        """At most so many bytes, none at the end; raises zlib.error or EOFError on a bad one."""
        while True:
            ended = not self._fill()
            if ended and (self._between or self._empty):
                return b""
            data = self._member.decompress(self._waiting, size)
            self._waiting, self._between = self._member.unconsumed_tail, False
            if self._member.eof:
                self._waiting = self._member.unused_data
                self._member, self._between = zlib.decompressobj(_GZIP), True
            elif ended and not data:
                raise EOFError("it ends in the middle")
            if data:
                return data

    def _fill(self) -> bool:
        """Have something that waits; False at the end."""
        while True:
            if self._between:
                self._waiting = self._waiting.lstrip(b"\0")
            if self._waiting:
                return True
            self._waiting = self._packed.read(_PIECE)
            if not self._waiting:
                return False
            self._empty = False
