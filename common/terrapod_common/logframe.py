"""The framing of run logs: STX, the bytes, ETX; offsets count every byte, the marks too.

The go-tfe client starts reading at offset 0, switches framing on when the first byte is STX,
and takes ETX as the last byte of a chunk for the end.
"""

from typing import NamedTuple

STX = b"\x02"
ETX = b"\x03"


class Window(NamedTuple):
    """What answers one read: marks around ``length`` bytes of the log from ``start``."""

    prefix: bytes
    start: int
    length: int
    suffix: bytes


def window(offset: int, limit: int, size: int, *, complete: bool) -> Window:
    """Cut ``[offset, offset + limit)`` out of the framed log of ``size`` plain bytes.

    Beyond the end the window is empty, never an error: clients poll there.
    """
    total = 1 + size + (1 if complete else 0)
    first, last = max(0, offset), min(max(0, offset) + max(0, limit), total)
    if first >= last:
        return Window(b"", 0, 0, b"")
    prefix = STX if first == 0 else b""
    suffix = ETX if complete and last == total else b""
    start = max(first, 1) - 1
    end = min(last - 1, size)
    return Window(prefix, start, max(0, end - start), suffix)
