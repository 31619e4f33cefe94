"""Blocks that may fail in any way without that being in the way of what counts."""

from collections.abc import Iterator
from contextlib import contextmanager


class CapturedError:
    """How a block has ended; who tries it has to tell of what went wrong."""

    def __init__(self) -> None:
        self.error: Exception | None = None


@contextmanager
def capture_error() -> Iterator[CapturedError]:
    """Whatever goes wrong in the block ends here."""
    tried = CapturedError()
    try:
        yield tried
    except Exception as error:  # noqa: BLE001 - what it is for
        tried.error = error
