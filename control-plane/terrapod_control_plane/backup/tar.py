"""Tar in constant memory: written to and read from a stream that can't be wound back."""

import hashlib
import tarfile
from collections.abc import Callable, Iterator

from msgspec import Struct

_BLOCK = 512
_PIECE = 256 * 1024


class BadBackup(Exception):
    """This is no backup, or it was changed, damaged or cut off; the message says what."""


class Written(Struct, frozen=True):
    """What went into a member."""

    size: int
    sha256: str


class TarWriter:
    """Writes members one after the other; their sizes are told before their bytes."""

    def __init__(self, write: Callable[[bytes], object], made_at: int) -> None:
        self._write = write
        self._made_at = made_at
        self._size = 0
        self._left = 0
        self._sha = hashlib.sha256()

    def begin(self, name: str, size: int) -> None:
        """The next member."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, self._made_at, 0o600
        try:
            self._write(info.tobuf(tarfile.USTAR_FORMAT))
        except ValueError as error:
            raise BadBackup(f"{name} can't be a member of the archive: {error}") from None
        self._size, self._left, self._sha = size, size, hashlib.sha256()

    def data(self, piece: bytes) -> None:
        """Bytes of the present member."""
        self._left -= len(piece)
        if self._left < 0:
            raise BadBackup("a file has grown while it was copied")
        self._sha.update(piece)
        self._write(piece)

    def end(self) -> Written:
        """The present member is whole."""
        if self._left:
            raise BadBackup("a file has shrunk while it was copied")
        self._write(bytes(-self._size % _BLOCK))
        return Written(self._size, self._sha.hexdigest())

    def finish(self) -> None:
        """Nothing follows."""
        self._write(bytes(2 * _BLOCK))


class Member(Struct, frozen=True):
    """A member whose bytes come next."""

    name: str
    size: int


class TarReader:
    """Reads members in their order. ``read`` gives as many bytes as asked, less at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._left = 0
        self._padding = 0

    def next(self) -> Member | None:
        """The next member, or nothing at the end. The one before has been read."""
        assert self._left == 0
        self._exactly(self._padding)
        head = self._exactly(_BLOCK)
        if not any(head):
            return None
        try:
            info = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            raise BadBackup("this is no backup, or it is damaged") from None
        if not info.isreg() or info.size < 0:
            raise BadBackup(f"{info.name} is no member of a backup")
        self._left, self._padding = info.size, -info.size % _BLOCK
        return Member(info.name, info.size)

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the present member."""
        while self._left:
            piece = self._exactly(min(self._left, _PIECE))
            self._left -= len(piece)
            yield piece

    def end(self) -> None:
        """Nothing but padding may follow the last member; what seals the archive ends with it."""
        self._exactly(self._padding)
        rest = self._exactly(2 * _BLOCK)
        while rest:
            if any(rest):
                raise BadBackup("something follows the end of the backup")
            rest = self._read(_PIECE)

    def _exactly(self, size: int) -> bytes:
        found = self._read(size) if size else b""
        if len(found) < size:
            raise BadBackup("the backup is cut off")
        return found
