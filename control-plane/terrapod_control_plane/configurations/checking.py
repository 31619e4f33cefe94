"""An archive that is checked while it comes, if there is a place for that; else afterwards."""

import asyncio
import hashlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Condition, Semaphore
from types import TracebackType
from typing import Self

from terrapod_control_plane.configurations.archive import Bounds, check
from terrapod_control_plane.kernel.blobs.base import Transform

_AT_ONCE = 4
# What has come and was not looked at yet; an archive that comes faster is checked afterwards.
_BEHIND_AT_MOST = 8 * 1024 * 1024

_threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="archive")
_places = Semaphore(_AT_ONCE)


class _Left(Exception):
    """Nobody wants to know any more."""


class Arriving:
    """An archive as a thread reads it, while it still comes."""

    def __init__(self) -> None:
        self._pieces = deque[bytes]()
        self._changed = Condition()
        self._received = 0
        self._behind = 0
        self._ended = self._left = False

    def add(self, piece: bytes) -> bool:
        """What has come; whether it is still read."""
        with self._changed:
            self._received += len(piece)
            self._behind += len(piece)
            self._left = self._left or self._behind > _BEHIND_AT_MOST
            if self._left:
                self._pieces.clear()
            else:
                self._pieces.append(piece)
            self._changed.notify()
            return not self._left

    def end(self) -> None:
        """All has come."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def leave(self) -> None:
        """Whoever reads is to stop."""
        with self._changed:
            self._left = True
            self._pieces.clear()
            self._changed.notify()

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, once there are some; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._ended or self._left)
            self._must_go_on()
            if not self._pieces:
                return b""
            piece = self._pieces.popleft()
            if 0 <= size < len(piece):
                self._pieces.appendleft(piece[size:])
                piece = piece[:size]
            self._behind -= len(piece)
            return piece

    def size(self, enough: int) -> int:
        """How long it is, once that is known or it is at least so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._received >= enough or self._ended or self._left)
            self._must_go_on()
            return self._received

    def _must_go_on(self) -> None:
        if self._left:
            raise _Left


class Checking(Transform):
    """What an archive passes on its way into the store: its digest is taken, and it is checked."""

    def __init__(self, bounds: Bounds) -> None:
        self.size = 0  # of what has passed
        self.checked = False  # and it was found good
        self._bounds = bounds
        self._sha256 = hashlib.sha256()
        self._arriving = Arriving()
        self._under_way: asyncio.Future[None] | None = None

    @property
    def sha256(self) -> str:
        """Of what has passed."""
        return self._sha256.hexdigest()

    def __enter__(self) -> Self:
        if _places.acquire(blocking=False):
            loop = asyncio.get_running_loop()
            self._under_way = loop.run_in_executor(_threads, self._check)
            self._under_way.add_done_callback(_looked_at)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._arriving.leave()

    def update(self, piece: bytes | bytearray) -> bytes | bytearray:
        """The piece, which the check may take now."""
        self._sha256.update(piece)
        self.size += len(piece)
        if self._under_way is not None:
            self._arriving.add(bytes(piece))
        return piece

    def finalize(self) -> bytes:
        """Nothing: the check knows now that all has come."""
        self._arriving.end()
        return b""

    async def before_publish(self) -> None:
        """Raises BadArchive for one that may not be stored."""
        if self._under_way is not None:
            await asyncio.wait([self._under_way])
            try:
                self._under_way.result()
            except _Left:
                return  # it came too fast
            self.checked = True

    def _check(self) -> None:
        try:
            check(self._arriving, self._arriving.size, self._bounds)
        finally:
            _places.release()


def _looked_at(done: "asyncio.Future[None]") -> None:
    if not done.cancelled():
        done.exception()  # else asyncio says that nobody has looked
