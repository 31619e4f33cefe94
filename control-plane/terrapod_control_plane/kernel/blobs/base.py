"""The contract of every blob store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Protocol


class BlobMissing(Exception):
    """There is no blob under this key."""


class BadKey(ValueError):
    """The key has no valid form."""


class Transform:
    """What is done to the pieces of a blob before they are stored; this one changes nothing.

    A store calls it in its own threads, with one piece after the other, and may join pieces first.
    """

    def update(self, piece: bytes | bytearray) -> bytes | bytearray:
        """What is stored for a piece."""
        return piece

    def finalize(self) -> bytes | bytearray:
        """What is stored after the last piece."""
        return b""

    async def before_publish(self) -> None:
        """Raises, in the event loop, where what has passed must not be stored after all."""


PLAIN = Transform()


class Blobs(Protocol):
    """Durable bytes under keys like `states/ws-1/sv-2`.

    No key may be a folder of another one, and no segment is empty or begins with a dot.
    """

    async def put(
        self, key: str, chunks: AsyncIterable[bytes], transform: Transform = PLAIN
    ) -> int:
        """Stores all chunks and returns the size of what the transform made of them.

        Readers see the old blob or the whole new one; the new one survives a power failure once
        this returns. When the chunks or the transform fail, nothing has changed.
        """
        ...

    def read(
        self, key: str, start: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from `start`, clipped at the end; raises BlobMissing at the first step.

        Close it (`contextlib.aclosing`) when leaving early: a file or connection is open.
        """
        ...

    async def size(self, key: str) -> int:
        """The size in bytes; raises BlobMissing."""
        ...

    async def delete(self, key: str) -> None:
        """Removes the blob; no error when there is none."""
        ...

    def below(self, prefix: str = "") -> AsyncGenerator[str, None]:
        """The keys of all blobs below `prefix`, such as `states/`, in no order.

        What is put or deleted meanwhile may be among them or not.
        """
        ...

    async def check(self) -> None:
        """Raises OSError when the store cannot be used."""
        ...


async def whole(blobs: Blobs, key: str) -> bytes:
    """A blob that is known to be small, at once."""
    return b"".join([chunk async for chunk in blobs.read(key)])


async def once(data: bytes) -> AsyncGenerator[bytes, None]:
    """Bytes in hand as the chunks that `put` takes."""
    yield data
