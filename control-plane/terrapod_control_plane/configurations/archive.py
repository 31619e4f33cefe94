"""Whether an uploaded archive may be unpacked: pure, and strict about what it does not know.

Agents unpack what passes here. So every path stays inside, no member passes through a link, links
end inside, names are text that nobody mistakes, and the size is bounded before anything is written
anywhere.
"""

import os
import re
import tarfile
import zlib
from collections.abc import Callable
from itertools import dropwhile
from pathlib import PurePosixPath
from typing import Self

from msgspec import Struct

from terrapod_common.overrides import OVERRIDE, rivals_override
from terrapod_common.tar_filter import objection
from terrapod_control_plane.configurations.unzipping import ByteSource, Unzipped

_HEADER_AT_MOST = 256 * 1024
_NAME_AT_MOST = 2048
_PART_AT_MOST = 255  # what file systems take
_DEPTH_AT_MOST = 64
_HOPS_AT_MOST = 40  # links behind links that the kernel follows
_STEPS_AT_MOST = 2_000_000  # of all links together
# Controls, and what a name that is no UTF-8 is read as.
_NO_NAME = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
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
_NOWHERE = "/nonexistent"  # a folder in which no link can lie


class BadArchive(Exception):
    """The archive may not be unpacked; the message says why."""


class Bounds(Struct, frozen=True, kw_only=True):
    """How large an archive may unpack."""

    bytes_at_most: int
    files_at_most: int
    ratio_at_most: int
    ratio_free_bytes: int  # unpacked bytes that no ratio is asked of


def check(archive: ByteSource, size: Callable[[int], int], bounds: Bounds) -> None:
    """Read a gzip-compressed tar to its end; raises :class:`BadArchive`.

    Its size is asked for when it matters, with what would be enough: it may not be known yet.
    """
    try:
        plain = _Bounded(Unzipped(archive), size, bounds)
        _check_members(plain, bounds.files_at_most)
        # The rest as well: only at its end the checksum tells that the archive is whole.
        while plain.read(_PIECE):
            pass
    except _UNREADABLE as error:
        raise BadArchive(f"The archive is not a whole gzip-compressed tar: {error}") from error


def _check_members(plain: "_Bounded", files_at_most: int) -> None:
    tree = _Tree()
    with tarfile.open(fileobj=plain, mode="r|", tarinfo=_Member, bufsize=_PIECE) as tar:  # type: ignore[call-overload]
        for number, member in enumerate(tar, 1):
            if number > files_at_most:
                raise BadArchive(f"The archive has more than {files_at_most} members.")
            tar.members = []  # else it keeps them all
            tree.add(member)
            _look_again(member)
    tree.check_links()


def _look_again(member: tarfile.TarInfo) -> None:
    # Python judges a link by what lies on the disk, and here nothing does: where a link leads that
    # goes up behind a name, it could not know. Agents ask it again when all of them are there.
    names = iter(PurePosixPath(member.linkname).parts)
    if member.issym() and ".." in dropwhile("..".__eq__, names):
        return
    if why := objection(member, _NOWHERE):
        raise BadArchive(f"{_shown(member.name)} may not be unpacked: {why}")


class _Bounded:
    """Unpacked bytes, up to a limit."""

    def __init__(self, source: Unzipped, size: Callable[[int], int], bounds: Bounds) -> None:
        self._source = source
        self._size = size
        self._bounds = bounds
        self._read = 0
        self._ends = 0

    def read(self, size: int) -> bytes:
        data = self._source.read(min(size, _PIECE))
        # tarfile skips to the end of a member piece by piece, wherever that is said to be.
        self._ends += not data
        if self._ends > _ENDS_AT_MOST:
            raise BadArchive("The archive ends in the middle of a member.")
        self._read += len(data)
        allowed = self._allowed()
        if self._read > allowed:
            raise BadArchive(f"The archive unpacks to more than {allowed} bytes.")
        return data

    def _allowed(self) -> int:
        bounds, beyond = self._bounds, self._read - self._bounds.ratio_free_bytes
        if beyond <= 0:
            return min(bounds.bytes_at_most, bounds.ratio_free_bytes)
        size = self._size(-(-beyond // bounds.ratio_at_most))
        return min(bounds.bytes_at_most, bounds.ratio_free_bytes + size * bounds.ratio_at_most)


class _Member(tarfile.TarInfo):
    """Refuses headers that would be read into memory whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _EXTENDED and member.size > _HEADER_AT_MOST:
            raise BadArchive("The archive has a header that is too long.")
        return member


class _Tree:
    """What the archive would make; a path is a folder, a file or a link, and stays it."""

    def __init__(self) -> None:
        self._folders: set[str] = {"."}
        self._files: set[str] = set()
        self._links: dict[str, str] = {}

    def add(self, member: tarfile.TarInfo) -> None:
        path = _inside(member.name)
        shown = _shown(member.name)
        if member.issparse() or not (member.isfile() or member.isdir() or _is_link(member)):
            raise BadArchive(f"{shown} is neither file, folder nor link.")
        self._add_parents(path, shown)
        name = str(path)
        if member.isdir():
            self._must_be_new(name, shown, beside=self._folders)
            self._folders.add(name)
        elif member.issym():
            self._must_be_new(name, shown)
            self._links[name] = _target(member.linkname, shown)
        else:
            if member.islnk() and str(_inside(member.linkname)) not in self._files:
                raise BadArchive(f"{shown} is a hard link to no file that came before it.")
            self._must_be_new(name, shown, beside=self._files)
            self._files.add(name)

    def check_links(self) -> None:
        """Each link ends inside, whatever other links it passes; known once all have been read."""
        _Links(self._links).check()

    def _add_parents(self, path: PurePosixPath, shown: str) -> None:
        parent = path.parent
        while str(parent) not in self._folders:
            if str(parent) in self._links:
                raise BadArchive(f"{shown} lies behind a link.")
            if str(parent) in self._files:
                raise BadArchive(f"{shown} lies in what is a file already.")
            self._folders.add(str(parent))
            parent = parent.parent

    def _must_be_new(self, name: str, shown: str, beside: set[str] | None = None) -> None:
        # A file that comes twice is the later one, as tar has it; nothing changes its kind.
        for kind, known in (
            ("folder", self._folders),
            ("file", self._files),
            ("link", self._links.keys()),
        ):
            if name in known and known is not beside:
                raise BadArchive(f"{shown} is a {kind} already.")


class _Links:
    """Follows links as the kernel would, within the archive."""

    def __init__(self, links: dict[str, str]) -> None:
        self._links = links
        self._ends: dict[str, tuple[str, ...]] = {}
        self._steps = 0

    def check(self) -> None:
        for name in self._links:
            self._end_of(name, 0)

    def _end_of(self, name: str, hops: int) -> tuple[str, ...]:
        """Where a link ends, as the parts of a path from the root of the archive."""
        if (known := self._ends.get(name)) is not None:
            return known
        if hops >= _HOPS_AT_MOST:
            raise BadArchive(f"{_shown(name)} links to what never ends.")
        target = self._links[name]
        at = list(PurePosixPath(name).parent.parts)
        for part in PurePosixPath(target).parts:
            self._steps += 1
            if self._steps > _STEPS_AT_MOST:
                raise BadArchive("The archive has too many links.")
            if part == "..":
                if not at:
                    raise BadArchive(f"{_shown(name)} links to {target!r}, which lies outside.")
                at.pop()
                continue
            at.append(part)
            if (path := "/".join(at)) in self._links:
                at = list(self._end_of(path, hops + 1))
        self._ends[name] = end = tuple(at)
        return end


def _is_link(member: tarfile.TarInfo) -> bool:
    return member.issym() or member.islnk()


def _target(text: str, shown: str) -> str:
    if not text or len(os.fsencode(text)) > _NAME_AT_MOST or _NO_NAME.search(text):
        raise BadArchive(f"{shown} links to what is no name.")
    if text.startswith("/"):
        raise BadArchive(f"{shown} links to {text[:200]!r}, which lies outside.")
    return text


def _inside(name: str) -> PurePosixPath:
    if len(os.fsencode(name)) > _NAME_AT_MOST:
        raise BadArchive("The archive has a name that is too long.")
    if _NO_NAME.search(name):
        raise BadArchive(f"{_shown(name)} is no name: it has control characters, or is no UTF-8.")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BadArchive(f"{_shown(name)} lies outside of the archive.")
    if len(path.parts) > _DEPTH_AT_MOST:
        raise BadArchive(f"{_shown(name)} lies too deep.")
    for part in path.parts:
        if len(os.fsencode(part)) > _PART_AT_MOST:
            raise BadArchive(
                f"{_shown(name)} has a part that is longer than {_PART_AT_MOST} bytes."
            )
        if rivals_override(part):
            raise BadArchive(
                f"{_shown(name)} would come after {OVERRIDE}, which Terrapod adds to every run: "
                "choose a name that sorts before it."
            )
    return path


def _shown(name: str) -> str:
    return ascii(name[:200])
