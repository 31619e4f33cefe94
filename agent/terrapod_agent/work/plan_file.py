"""Reads a saved plan of terraform as far as needed, and gives it another backend.

A saved plan is a zip; its member ``tfplan`` is a protocol buffer, of which only a few numbers of
fields are known here, the same in each Terraform that has those fields. What is not as expected is
left alone: such a plan keeps the backend that it was made with.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from msgspec import Struct

from terrapod_common import files

_MEMBER, _PRIOR = "tfplan", "tfstate"
_LARGEST = 256 * 1024 * 1024  # bytes of a member that are read
_MOST = 1_000_000  # fields of a plan that are read; it may be any file that a run has put there
_CHANGES, _BACKEND, _ASKED = 3, 13, 28  # fields of a plan
_CHANGE, _ACTION = 9, 1  # fields of a change to a resource, and of what it does
_TYPE = 1  # a field of a backend
_UNREADABLE = (
    *(OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
_CREATE, _DELETE = 1, 5


class Field(Struct, frozen=True):
    """One field of a protocol buffer: its number, its value, and its bytes with both."""

    number: int
    value: int | bytes
    raw: bytes


class SavedPlan(Struct, frozen=True, kw_only=True):
    """What a saved plan would do, and where it keeps the state."""

    backend: str  # its type
    prior_bytes: int  # the state before
    changes: int  # objects that are not left as they are
    created_bytes: int  # of the plans of those that come
    must_differ: bool  # objects come or go, so that the state after is another one
    needs_values: bool  # the apply needs values that a plan does not hold: those that are ephemeral


def read_saved_plan(path: Path) -> SavedPlan | None:
    """What is in a saved plan; nothing when it is not understood."""
    try:
        with _opened(path) as archive:
            fields = _all_fields(_read(archive))
            prior = archive.getinfo(_PRIOR).file_size
    except _UNREADABLE:
        return None
    return _summarize(fields, prior)


def _summarize(fields: list[Field], prior: int) -> SavedPlan | None:
    changes = created = moved = 0
    backends = [field for field in fields if field.number == _BACKEND]
    try:
        for field in fields:
            if field.number == _CHANGES and (action := _action(field)):
                changes += 1
                created += len(field.raw) if action != _DELETE else 0
                moved += action in (_CREATE, _DELETE)
        [backend] = backends
        kind = _only(backend, _TYPE)
    except _UNREADABLE:
        return None
    if not isinstance(kind, bytes):
        return None
    return SavedPlan(
        backend=kind.decode(errors="replace"),
        prior_bytes=prior,
        changes=changes,
        created_bytes=created,
        must_differ=bool(moved),
        needs_values=any(field.number == _ASKED for field in fields),
    )


def backend_record(path: Path) -> bytes | None:
    """The bytes of the field that says which backend a saved plan has."""
    try:
        with _opened(path) as archive:
            fields = _all_fields(_read(archive))
        [found] = [field.raw for field in fields if field.number == _BACKEND]
    except _UNREADABLE:
        return None
    return found


def replace_backend(path: Path, record: bytes, into: Path) -> bool:
    """Write the plan with another backend, all else the same; false when that is not so."""
    try:
        with (
            _opened(path) as source,
            files.open_new(into) as file,
            zipfile.ZipFile(file, "w") as to,
        ):
            for member in source.infolist():
                content = _read(source, member.filename)
                if member.filename == _MEMBER:
                    content = _replaced(content, record)
                to.writestr(member, content, zipfile.ZIP_DEFLATED, 1)
        return _differs_in_backend_only(path, into, record)
    except _UNREADABLE:
        return False


def _replaced(plan: bytes, record: bytes) -> bytes:
    fields = _all_fields(plan)
    return b"".join(record if field.number == _BACKEND else field.raw for field in fields)


def _differs_in_backend_only(path: Path, other: Path, record: bytes) -> bool:
    with _opened(path) as one, _opened(other) as two:
        names = one.namelist()
        if names != two.namelist() or len(set(names)) != len(names) or two.testzip() is not None:
            return False
        same = all(
            one.getinfo(name).CRC == two.getinfo(name).CRC
            and one.getinfo(name).file_size == two.getinfo(name).file_size
            for name in names
            if name != _MEMBER
        )
        before, after = _all_fields(_read(one)), _all_fields(_read(two))
    was = [field.raw for field in before if field.number != _BACKEND]
    now = [field.raw for field in after if field.number != _BACKEND]
    return same and was == now and [f.raw for f in after if f.number == _BACKEND] == [record]


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    # A run has made it: a pipe or a link in its place is not opened.
    with files.open_regular(path) as file, zipfile.ZipFile(file) as archive:
        yield archive


def _all_fields(data: bytes) -> list[Field]:
    found = list(islice(_fields(data), _MOST + 1))
    if len(found) > _MOST:
        raise ValueError(len(data))
    return found


def _read(archive: zipfile.ZipFile, name: str = _MEMBER) -> bytes:
    if archive.getinfo(name).file_size > _LARGEST:
        raise ValueError(name)
    return archive.read(name)


def _action(change: Field) -> int:
    inner = _only(change, _CHANGE)
    if not isinstance(inner, bytes):
        raise TypeError(change.number)
    actions = [field.value for field in _fields(inner) if field.number == _ACTION]
    return int(actions[0]) if actions else 0  # nothing stands for the first, which does nothing


def _only(field: Field, number: int) -> int | bytes:
    if not isinstance(field.value, bytes):
        raise TypeError(number)
    [found] = [inner.value for inner in _fields(field.value) if inner.number == number]
    return found


def _fields(data: bytes) -> Iterator[Field]:
    at = 0
    while at < len(data):
        begin = at
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield Field(number, value, data[begin:at])
            continue
        if kind == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}[kind]
        if at + size > len(data):
            raise ValueError(number)
        at += size
        yield Field(number, data[at - size : at], data[begin:at])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(shift)
