"""Whether an uploaded archive may be unpacked: pure, and strict about what it does not know.

Agents unpack what passes here. So every path stays inside, no member passes through a link, and
the size is bounded before anything is written anywhere.
"""

import gzip
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol, Self

from msgspec import Struct

_FREE = 1024 * 1024  # unpacked bytes that no ratio is asked of
_HEADER_AT_MOST = 256 * 1024
_NAME_AT_MOST = 2048
_DEPTH_AT_MOST = 64
_PIECE = 256 * 1024
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_UNREADABLE = (
    *(tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError),
    RecursionError,  # a header that announces a header that announces ...
)
_ENDS_AT_MOST = 100


class BadArchive(Exception):
    """The archive may not be unpacked; the message says why."""


class Bounds(Struct, frozen=True, kw_only=True):
    """How large an archive may unpack."""

    bytes_at_most: int
    files_at_most: int
    ratio_at_most: int


class Readable(Protocol):
    """The archive, from its beginning."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        ...


def check(archive: Readable, size: int, bounds: Bounds) -> None:
    """Read a gzip-compressed tar of ``size`` bytes to its end; raises :class:`BadArchive`."""
    allowed = min(bounds.bytes_at_most, _FREE + size * bounds.ratio_at_most)
    try:
        with gzip.GzipFile(fileobj=_opened(archive), mode="rb") as unzipped:
            plain = _Bounded(unzipped, allowed)
            _check_members(plain, bounds.files_at_most)
            # The rest as well: only at its end the checksum tells that the archive is whole.
            while plain.read(_PIECE):
                pass
    except _UNREADABLE as error:
        raise BadArchive(f"The archive is not a whole gzip-compressed tar: {error}") from error


def _opened(archive: Readable) -> BinaryIO:
    return archive  # type: ignore[return-value]  # GzipFile only ever calls read


def _check_members(plain: "_Bounded", files_at_most: int) -> None:
    tree = _Tree()
    with tarfile.open(fileobj=plain, mode="r|", tarinfo=_Member) as tar:  # type: ignore[call-overload]
        for number, member in enumerate(tar, 1):
            if number > files_at_most:
                raise BadArchive(f"The archive has more than {files_at_most} members.")
            tar.members = []  # else it keeps them all
            tree.add(member)


class _Bounded:
    """Unpacked bytes, up to a limit."""

    def __init__(self, source: gzip.GzipFile, allowed: int) -> None:
        self._source = source
        self._left = allowed
        self._allowed = allowed
        self._ends = 0

    def read(self, size: int) -> bytes:
        data = self._source.read(min(size, _PIECE))
        # tarfile skips to the end of a member piece by piece, wherever that is said to be.
        self._ends += not data
        if self._ends > _ENDS_AT_MOST:
            raise BadArchive("The archive ends in the middle of a member.")
        self._left -= len(data)
        if self._left < 0:
            raise BadArchive(f"The archive unpacks to more than {self._allowed} bytes.")
        return data


class _Member(tarfile.TarInfo):
    """Refuses headers that would be read into memory whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENDED and member.size > _HEADER_AT_MOST:
            raise BadArchive("The archive has a header that is too long.")
        return member


class _Tree:
    """What the archive would make; a path is a folder or a link, never both."""

    def __init__(self) -> None:
        self._folders: set[PurePosixPath] = {PurePosixPath()}
        self._links: set[PurePosixPath] = set()

    def add(self, member: tarfile.TarInfo) -> None:
        path = _inside(member.name)
        shown = repr(member.name[:200])
        if member.issparse() or not (member.isfile() or member.isdir() or _is_link(member)):
            raise BadArchive(f"{shown} is neither file, folder nor link.")
        for folder in path.parents:
            if folder in self._links:
                raise BadArchive(f"{shown} lies behind a link.")
            self._folders.add(folder)
        if member.isdir():
            self._add_folder(path, shown)
        elif member.issym():
            self._add_link(path, member.linkname, shown)
        elif member.islnk() and _inside(member.linkname) in self._links:
            raise BadArchive(f"{shown} is a hard link to a link.")
        elif path in self._folders:
            raise BadArchive(f"{shown} is a folder already.")

    def _add_folder(self, path: PurePosixPath, shown: str) -> None:
        if path in self._links:
            raise BadArchive(f"{shown} is a link already.")
        self._folders.add(path)

    def _add_link(self, path: PurePosixPath, target: str, shown: str) -> None:
        if path in self._folders:
            raise BadArchive(f"{shown} is a folder already.")
        parts = PurePosixPath(target).parts
        ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
        # Only leading dots: behind a link, `..` is not what it looks like.
        if target.startswith("/") or not target or "\0" in target or ".." in parts[ups:]:
            raise BadArchive(f"{shown} links to {target[:200]!r}, which may lie outside.")
        if ups > len(path.parent.parts):
            raise BadArchive(f"{shown} links to {target[:200]!r}, which lies outside.")
        self._links.add(path)


def _is_link(member: tarfile.TarInfo) -> bool:
    return member.issym() or member.islnk()


def _inside(name: str) -> PurePosixPath:
    if len(name) > _NAME_AT_MOST:
        raise BadArchive("The archive has a name that is too long.")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise BadArchive(f"{name[:200]!r} lies outside of the archive.")
    if len(path.parts) > _DEPTH_AT_MOST:
        raise BadArchive(f"{name[:200]!r} lies too deep.")
    return path
