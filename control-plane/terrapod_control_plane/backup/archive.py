"""What an archive holds, and that each byte of it is what was put in.

Members come in this order: ``header.json``, the database table by table in the text of COPY, the
blobs, the key ring if it is in it, ``manifest.json`` and its signature. After every thousand of
them a list of their sha256 follows, as ``sha256sum -c`` reads it; the manifest has the sha256 of
each list. So neither side needs more memory for a larger archive.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime

import msgspec
from msgspec import Struct

from terrapod_control_plane.backup.tar import BadBackup, Member, TarReader, TarWriter, Written

FORMAT = 1
HEADER, KEYS, MANIFEST, SIGNATURE = "header.json", "keys", "manifest.json", "manifest.sig"
DATABASE, DIGESTS = "database", "digests"
SMALL = 1024 * 1024  # a blob that is read and written at once
_LISTED = 1000
_LARGEST_WHOLE = 64 * 1024 * 1024  # of what is held whole


class Table(Struct, frozen=True, kw_only=True):
    """A table: in which order its columns stand, and how much of it there is."""

    name: str
    columns: list[str]
    rows: int = 0
    size: int = 0


class Header(Struct, frozen=True, kw_only=True):
    """What has to be known before the rest is read."""

    format: int
    terrapod: str
    made_at: datetime
    epoch: int
    migrations: list[str]
    tables: list[Table]
    with_keys: bool


class Store(Struct, frozen=True, kw_only=True):
    """How much of a blob store there is."""

    blobs: int
    size: int


class Manifest(Struct, frozen=True, kw_only=True):
    """What is known at the end."""

    header: Header
    tables: list[Table]
    stores: dict[str, Store]
    sequences: dict[str, int]
    members: int
    digests: list[str]  # of the lists of digests


class ArchiveWriter:
    """Writes members and the lists of their digests."""

    def __init__(self, write: Callable[[bytes], object], made_at: datetime) -> None:
        self._tar = TarWriter(write, int(made_at.timestamp()))
        self._lines: list[str] = []
        self._digests: list[str] = []
        self._name = ""
        self.members = 0

    def begin(self, name: str, size: int) -> None:
        """The next member, of so many bytes."""
        self._name = name
        self._tar.begin(name, size)

    def data(self, piece: bytes) -> None:
        """Bytes of the present member."""
        self._tar.data(piece)

    def end(self) -> None:
        """The present member is whole."""
        written = self._tar.end()
        self._lines.append(f"{written.sha256}  {self._name}\n")
        self.members += 1
        if len(self._lines) == _LISTED:
            self._list()

    def add(self, name: str, content: bytes) -> None:
        """A whole member."""
        self.begin(name, len(content))
        self.data(content)
        self.end()

    def digests(self) -> list[str]:
        """The sha256 of each list, when nothing but the manifest is to come."""
        if self._lines:
            self._list()
        return self._digests

    def finish(self, manifest: bytes, signature: bytes) -> None:
        """The last members."""
        self._unlisted(MANIFEST, manifest)
        self._unlisted(SIGNATURE, signature)
        self._tar.finish()

    def _list(self) -> None:
        name = f"{DIGESTS}/{len(self._digests) + 1:06d}"
        self._digests.append(self._unlisted(name, "".join(self._lines).encode()).sha256)
        self._lines = []

    def _unlisted(self, name: str, content: bytes) -> Written:
        self._tar.begin(name, len(content))
        self._tar.data(content)
        return self._tar.end()


class ArchiveReader:
    """Gives the members in their order, and holds each against its digest on the way."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._tar = TarReader(read)
        self._sha = hashlib.sha256()
        self._present: Member | None = None
        self._lines: list[str] = []
        self._digests: list[str] = []
        self.members = 0
        self.manifest: Manifest | None = None
        self.manifest_bytes = b""
        self.signature = b""
        self.header = self._header()

    def peek(self) -> Member | None:
        """The member whose bytes come next; nothing when all were read and the manifest fits."""
        while self._present is None and not self.signature:
            member = self._tar.next()
            if member is None:
                raise BadBackup("the backup has no manifest: it was cut off")
            if member.name.startswith(f"{DIGESTS}/"):
                self._compare(self._whole(member))
            elif member.name == MANIFEST:
                self._end(self._whole(member))
            elif member.name == SIGNATURE and self.manifest is not None:
                self.signature = self._whole(member)
                self._tar.end()
            elif self.manifest is not None:
                raise BadBackup(f"{member.name} comes after the manifest")
            else:
                self._present, self._sha = member, hashlib.sha256()
        return self._present

    def take(self) -> Iterator[bytes]:
        """The bytes of the member that was peeked at."""
        member = self.peek()
        assert member is not None
        for piece in self._tar.pieces():
            self._sha.update(piece)
            yield piece
        self._lines.append(f"{self._sha.hexdigest()}  {member.name}\n")
        self._present = None
        self.members += 1

    def whole(self) -> bytes:
        """The same at once, for what is small."""
        member = self.peek()
        assert member is not None
        self._must_be_small(member)
        return b"".join(self.take())

    async def all_below(self, prefix: str) -> AsyncIterator[bytes]:
        """The bytes of this member and of those that follow it with the same prefix."""
        while (member := self.peek()) is not None and member.name.startswith(prefix):
            for piece in self.take():
                yield piece

    async def one(self) -> AsyncIterator[bytes]:
        """The bytes of this member."""
        for piece in self.take():
            yield piece

    def _header(self) -> Header:
        member = self.peek()
        if member is None or member.name != HEADER:
            raise BadBackup("this is no backup of Terrapod")
        try:
            header = msgspec.json.decode(self.whole(), type=Header)
        except msgspec.DecodeError as error:
            raise BadBackup(f"the header of the backup makes no sense: {error}") from None
        if header.format > FORMAT:
            raise BadBackup(f"the backup was made by a newer version, {header.terrapod}")
        return header

    def _whole(self, member: Member) -> bytes:
        self._must_be_small(member)
        return b"".join(self._tar.pieces())

    def _must_be_small(self, member: Member) -> None:
        if member.size > _LARGEST_WHOLE:
            raise BadBackup(f"{member.name} is larger than it can be")

    def _compare(self, listed: bytes) -> None:
        if listed != "".join(self._lines).encode():
            raise BadBackup(f"{self._first_wrong(listed)} is damaged: its sha256 is another")
        self._digests.append(hashlib.sha256(listed).hexdigest())
        self._lines = []

    def _first_wrong(self, listed: bytes) -> str:
        said = listed.decode(errors="replace").splitlines(keepends=True)
        wrong = (found for found, line in zip(self._lines, said, strict=False) if found != line)
        return next(wrong, "  a list of digests").rstrip().partition("  ")[2]

    def _end(self, content: bytes) -> None:
        try:
            found = msgspec.json.decode(content, type=Manifest)
        except msgspec.DecodeError as error:
            raise BadBackup(f"the manifest of the backup makes no sense: {error}") from None
        whole = (found.digests, found.members, found.header)
        if whole != (self._digests, self.members, self.header) or self._lines:
            raise BadBackup("the backup is not what its manifest says: members are missing")
        self.manifest, self.manifest_bytes = found, content
