"""The content of a state: stored, and read while it passes for what it says of itself."""

import contextlib
import hashlib
from collections.abc import AsyncIterable, Iterator
from threading import Lock
from types import TracebackType
from typing import Self

import anyio
import structlog
from anyio.to_thread import run_sync

from terrapod_common.agent_protocol import Code
from terrapod_control_plane.kernel.blobs.base import Blobs, Transform
from terrapod_control_plane.kernel.errors import Unavailable, Unprocessable
from terrapod_control_plane.kernel.reader import Reading
from terrapod_control_plane.kernel.readers import Memory, ReaderFailed, Readers, Unreadable
from terrapod_control_plane.states.model import Content, Parsed
from terrapod_control_plane.states.parsing import BadState, facts, parsed, told

log = structlog.get_logger()

# Longer ones would be felt by whoever else waits for the event loop.
_HERE_AT_MOST = 128 * 1024
# And even longer ones by everybody, for while one is decoded no other thread goes on.
_BESIDE_AT_MOST = 1024 * 1024
# Those that are read back hold a whole state each.
_AT_ONCE = 2
# Of all contents that are on their way, what is kept of them to be read; the others are read back.
KEPT_AT_MOST = 64 * 1024 * 1024
# A setting says how long it may take to read so much.
_MEASURE = 20 * 1024 * 1024

# One place more: states that other workspaces read are read here too, one at a time.
READERS = Readers(_AT_ONCE + 1)
_at_once = anyio.CapacityLimiter(_AT_ONCE)


class _Room:
    """Bytes that many may share."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """Whether there was room; then it is less."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += size


_room = _Room(KEPT_AT_MOST)


class Passing(Transform):
    """A content on its way to the store: digested, and read before it counts, if there is room."""

    def __init__(self, md5: str = "", *, seconds: float, readers: Readers = READERS) -> None:
        self.read: Parsed | None = None
        self._expected = md5
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._seconds = seconds
        self._readers = readers
        self._few: bytearray | None = bytearray()
        self._many: Memory | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._drop()

    @property
    def md5(self) -> str:
        """Of what has passed."""
        return self._md5.hexdigest()

    @property
    def sha256(self) -> str:
        """Of what has passed."""
        return self._sha256.hexdigest()

    def update(self, piece: bytes | bytearray) -> bytes | bytearray:
        """The piece, which is digested and kept to be read."""
        self._md5.update(piece)
        self._sha256.update(piece)
        if self._few is not None:
            self._few += piece
            if len(self._few) > _BESIDE_AT_MOST:
                few, self._few = self._few, None
                self._readers.warm()  # so that it has started when the rest has come
                with contextlib.suppress(ReaderFailed):
                    self._many = Memory()
                self._keep(few)
        elif self._many is not None:
            self._keep(piece)
        return piece

    async def before_publish(self) -> None:
        """Refuses what is not what was announced, and what is no state."""
        _must_be(self.md5, self._expected)
        try:
            self.read = await self._read()
        except BadState as error:
            raise _refusal(error) from error

    async def _read(self) -> Parsed | None:
        if self._few is not None:
            small = len(self._few) <= _HERE_AT_MOST
            return parsed(self._few) if small else await run_sync(parsed, self._few)
        if self._many is None:
            return None
        try:
            return told(await _read(self._readers, facts, self._many, self._seconds))
        except Unreadable as error:
            raise BadState(str(error)) from None

    def _keep(self, piece: bytes | bytearray) -> None:
        if self._many is None:
            return
        if not _room.take(len(piece)):
            self._drop()
            return
        try:
            self._many.add(piece)
        except ReaderFailed:
            _room.give(len(piece))
            self._drop()

    def _drop(self) -> None:
        if self._many is not None:
            _room.give(self._many.size)
            self._many.close()
            self._many = None


async def compare(chunks: AsyncIterable[bytes], md5: str) -> None:
    """Take a content that is there already; refuse another one."""
    digest = hashlib.md5(usedforsecurity=False)
    async for chunk in chunks:
        digest.update(chunk)
    _must_be(digest.hexdigest(), md5)


def _must_be(md5: str, expected: str) -> None:
    if expected.lower() not in ("", md5):
        raise Unprocessable(
            f"The content has the md5 {md5}, announced was {expected.lower()}.",
            pointer="/data/attributes/md5",
        )


async def store(
    blobs: Blobs,
    key: str,
    chunks: AsyncIterable[bytes],
    *,
    seconds: float,
    md5: str = "",
    readers: Readers = READERS,
) -> Content:
    """Make a content durable and read it; nothing stays of one that is not a state.

    Reading 20 MB may take so many seconds, more of it in proportion; else it is Unavailable.
    """
    with Passing(md5, seconds=seconds, readers=readers) as passing:
        size = await blobs.put(key, chunks, passing)
    read = passing.read
    if read is None:
        try:
            read = await again(blobs, key, seconds=seconds, readers=readers)
        except BadState as error:
            await blobs.delete(key)
            raise _refusal(error) from error
    return Content(size=size, md5=passing.md5, sha256=passing.sha256, parsed=read)


def _refusal(error: BadState) -> Unprocessable:
    pointer, code = "/data/attributes/state", Code.WRONG_STATE
    return Unprocessable(str(error), pointer=pointer, code=code)


async def again(blobs: Blobs, key: str, *, seconds: float, readers: Readers = READERS) -> Parsed:
    """What a stored content says of itself; raises BadState or Unavailable."""
    # Few are in memory at a time, however many are sent.
    async with _at_once:
        try:
            return told(await read_by(facts, blobs, key, seconds=seconds, readers=readers))
        except Unreadable as error:
            raise BadState(str(error)) from None


async def read_by(
    reading: Reading, blobs: Blobs, key: str, *, seconds: float, readers: Readers = READERS
) -> bytes:
    """What a function makes of a stored content, in another process.

    Raises Unreadable where it says ValueError, and Unavailable.
    """
    with _unavailable(), Memory() as content:
        async for chunk in blobs.read(key):
            content.add(chunk)
        return await _read(readers, reading, content, seconds)


async def _read(readers: Readers, reading: Reading, content: Memory, seconds: float) -> bytes:
    with _unavailable():
        return await readers.read(reading, content, seconds * max(1.0, content.size / _MEASURE))


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    # Never a mistake of ours: agents give up a state over which the server stumbles too often.
    try:
        yield
    except ReaderFailed as error:
        log.warning("a state was not read", reason=str(error))
        raise Unavailable("The state could not be read in time; try again.") from error
