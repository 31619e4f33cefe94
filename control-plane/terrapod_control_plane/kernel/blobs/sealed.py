"""Encryption around any blob store: frames of 64 KiB that can be read at an offset.

A sealed blob is a header of fixed size, which holds the blob's own data key sealed by the key
ring, and then frames. The nonce of a frame is its number and a mark on the last one, so frames
cannot be dropped, repeated, reordered or cut off unseen.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from terrapod_control_plane.kernel.blobs.base import PLAIN, Blobs, Transform
from terrapod_control_plane.kernel.crypto.keys import KeyRing, Tampered

_MAGIC = b"TPB1"
# Fixed, so that the plain size follows from the sealed size without a read.
_HEADER = 256
_PLAIN = 64 * 1024
_TAG = 16
_FRAME = _PLAIN + _TAG


class BlobDamaged(Exception):
    """The stored bytes are not what was put under this key."""


class SealedBlobs:
    """Stores only ciphertext in the inner store; nothing is yielded that was not verified."""

    def __init__(self, inner: Blobs, ring: KeyRing) -> None:
        self._inner = inner
        self._ring = ring

    async def put(
        self, key: str, chunks: AsyncIterable[bytes], transform: Transform = PLAIN
    ) -> int:
        """Encrypts and stores all chunks, as the transform gives them; returns their size."""
        data_key = secrets.token_bytes(32)
        sealed = self._ring.seal(data_key, _context(key))
        head = (_MAGIC + len(sealed).to_bytes(2, "big") + sealed).ljust(_HEADER, b"\0")
        stored = await self._inner.put(key, chunks, _Sealing(head, AESGCM(data_key), transform))
        return _plain_size(stored, key)

    async def read(
        self, key: str, start: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The plain bytes from `start`, clipped at the end; reads only the frames it needs."""
        if start < 0 or (length is not None and length < 0):
            raise ValueError("start and length of a read are not negative")
        span = _span(await self.size(key), start, length)
        begin = 0 if span.first == 0 else _HEADER + span.first * _FRAME
        stop = _HEADER + (span.last + 1) * _FRAME
        async with aclosing(self._inner.read(key, begin, stop - begin)) as stream:
            source = _Source(stream)
            head = await source.take(_HEADER) if span.first == 0 else await self._header(key)
            cipher = self._cipher(key, head)
            for number in range(span.first, span.last + 1):
                frame = _open(cipher, number, await source.take(_FRAME), span, key)
                piece = frame[span.cut(number)]
                if piece:
                    yield piece

    async def size(self, key: str) -> int:
        """The plain size; raises BlobMissing."""
        return _plain_size(await self._inner.size(key), key)

    async def delete(self, key: str) -> None:
        """Removes the blob; no error when there is none."""
        await self._inner.delete(key)

    def below(self, prefix: str = "") -> AsyncGenerator[str, None]:
        """The keys of all blobs below the prefix."""
        return self._inner.below(prefix)

    async def check(self) -> None:
        """Raises when the inner store cannot be used."""
        await self._inner.check()

    async def _header(self, key: str) -> bytes:
        async with aclosing(self._inner.read(key, 0, _HEADER)) as stream:
            return await _Source(stream).take(_HEADER)

    def _cipher(self, key: str, head: bytes) -> AESGCM:
        end = 6 + int.from_bytes(head[4:6], "big")
        if head[:4] != _MAGIC or len(head) != _HEADER or any(head[end:]):
            raise BlobDamaged(f"the blob {key} does not begin like a sealed one")
        try:
            return AESGCM(self._ring.open(head[6:end], _context(key)))
        except Tampered as error:
            raise BlobDamaged(f"the header of the blob {key} was changed or moved") from error


class _Sealing(Transform):
    """Makes frames of what passes, behind what somebody else makes of it."""

    def __init__(self, head: bytes, cipher: AESGCM, before: Transform) -> None:
        self._head = head
        self._cipher = cipher
        self._before = before
        self._waiting = bytearray()
        self._number = 0  # of the next frame

    def update(self, piece: bytes | bytearray) -> bytearray:
        """The frames that are full, behind the header of the blob."""
        return self._frames(self._before.update(piece))

    def finalize(self) -> bytearray:
        """What is left of them, and the last one."""
        sealed = self._frames(self._before.finalize())
        nonce = _nonce(self._number, last=True)
        return sealed + self._cipher.encrypt(nonce, bytes(self._waiting), None)

    async def before_publish(self) -> None:
        """As the one before says."""
        await self._before.before_publish()

    def _frames(self, plain: bytes | bytearray) -> bytearray:
        self._waiting += plain
        # A full frame waits until more follows: only then it is not the last one.
        frames = max(len(self._waiting) - 1, 0) // _PLAIN
        sealed, self._head = bytearray(self._head), b""
        with memoryview(self._waiting) as waiting:
            for at in range(0, frames * _PLAIN, _PLAIN):
                nonce = _nonce(self._number, last=False)
                sealed += self._cipher.encrypt(nonce, waiting[at : at + _PLAIN], None)
                self._number += 1
        del self._waiting[: frames * _PLAIN]
        return sealed


class _Span(NamedTuple):
    """The frames to read, and which bytes of them are wanted."""

    first: int
    last: int
    frames: int
    start: int
    end: int

    def cut(self, number: int) -> slice:
        base = number * _PLAIN
        return slice(max(self.start - base, 0), max(self.end - base, 0))


def _span(total: int, start: int, length: int | None) -> _Span:
    frames = max(1, -(-total // _PLAIN))
    end = total if length is None else min(start + length, total)
    # Who reads up to the end learns it from the marked frame, never from the size alone: else a
    # blob that was cut off would look like a shorter one.
    last = frames - 1 if end == total else max(end - 1, 0) // _PLAIN
    return _Span(min(start // _PLAIN, last), last, frames, start, end)


def _open(cipher: AESGCM, number: int, sealed: bytes, span: _Span, key: str) -> bytes:
    try:
        return cipher.decrypt(_nonce(number, last=number == span.frames - 1), sealed, None)
    except InvalidTag:
        raise BlobDamaged(f"frame {number} of the blob {key} is damaged or missing") from None


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _context(key: str) -> str:
    return f"blob {key}"


def _plain_size(sealed: int, key: str) -> int:
    body = sealed - _HEADER
    frames = -(-body // _FRAME)
    rest = body - (frames - 1) * _FRAME
    # An empty last frame belongs to the empty blob only.
    if body < _TAG or rest < _TAG or (rest == _TAG and frames > 1):
        raise BlobDamaged(f"the blob {key} has been cut off")
    return body - frames * _TAG


class _Source:
    """Takes pieces of a wanted size from chunks of any size."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._waiting = bytearray()

    async def take(self, size: int) -> bytes:
        """The next bytes; fewer at the end."""
        while len(self._waiting) < size:
            chunk = await anext(self._chunks, b"")
            if not chunk:
                break
            self._waiting += chunk
        piece = bytes(self._waiting[:size])
        del self._waiting[:size]
        return piece
