"""An uploaded executable, alone or in the zip archive of a release; pure but for its files."""

import hashlib
import lzma
import shutil
import struct
import tempfile
import zipfile
import zlib
from typing import IO, Any

from msgspec import Struct

BYTES_AT_MOST = 1024 * 1024 * 1024
_PIECE = 256 * 1024
# Whatever the formats inside of a zip raise; the bz2 of the standard library raises OSError.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, ValueError),
    *(EOFError, NotImplementedError, RuntimeError, OverflowError),
)


class BadPackage(Exception):
    """The upload holds no executable; the message says why."""


class Executable(Struct, frozen=True):
    """An executable at its beginning, to be closed by who asked for it."""

    file: IO[bytes]
    digest: str
    size: int


def unpacked(upload: IO[bytes], tool: str) -> Executable:
    """The executable of an upload; raises :class:`BadPackage`."""
    upload.seek(0)
    if upload.read(4) != b"PK\x03\x04":
        return _measured(upload)
    out = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the caller
    try:
        _extract(upload, tool, out)
        return _measured(out)
    except _UNREADABLE as error:
        out.close()
        raise BadPackage(f"The zip archive cannot be read: {error}") from error
    except BadPackage:
        out.close()
        raise


def _extract(upload: IO[bytes], tool: str, out: IO[bytes]) -> None:
    with zipfile.ZipFile(upload) as archive:
        names = (tool, f"{tool}.exe")
        member = next((m for m in archive.infolist() if m.filename in names), None)
        if member is None:
            raise BadPackage(f"The zip archive holds no {tool}.")
        if member.file_size > BYTES_AT_MOST:
            raise BadPackage(f"{tool} is larger than {BYTES_AT_MOST} bytes.")
        with archive.open(member) as packed:  # reads no more than the size it announced
            shutil.copyfileobj(packed, out, _PIECE)


def _measured(file: Any) -> Executable:
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = file.tell()
    if size == 0:
        raise BadPackage("The executable is empty.")
    file.seek(0)
    return Executable(file, digest, size)
