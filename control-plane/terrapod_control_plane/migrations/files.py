"""The migrations of this version: a file of plain SQL each, whose first line says which it is."""

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from msgspec import Struct

VERSIONS = Path(__file__).parent / "versions"

_ID = "%Y-%m-%dT%H:%M:%S:%f"  # databases know migrations by these, which are in order as text
_FIRST = re.compile(r"-- (?P<id>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d:\d{6}): (?P<about>\S.*)\n")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Migration(Struct, frozen=True):
    """A step from one schema to the next."""

    id: str
    about: str
    sql: str


class BadMigration(Exception):
    """A file does not say which migration it is, or as another one does, or has a bad name."""


def read(folder: Path = VERSIONS) -> list[Migration]:
    """The migrations in a folder, oldest first.

    Raises:
        BadMigration: A first line is wrong, or two are of the same moment.
    """
    found = [_read(path) for path in folder.glob("*.sql")]
    if len({one.id for one in found}) < len(found):
        raise BadMigration(f"two migrations in {folder} have the same moment")
    return sorted(found, key=lambda one: one.id)


def _read(path: Path) -> Migration:
    sql = path.read_text()
    first = _FIRST.match(sql)
    if first is None:
        raise BadMigration(f"the first line of {path} is not `-- MOMENT: what it is about`")
    return Migration(first["id"], first["about"], sql)


def new(name: str, now: datetime, folder: Path = VERSIONS) -> Path:
    """A file for the next migration, later than all others, to be filled in.

    Raises:
        BadMigration: The name is not one of a file, or taken.
    """
    if not _NAME.fullmatch(name):
        raise BadMigration(f"{name} is no name of small letters, digits and _")
    path = folder / f"terrapod_{now:%Y_%m_%d}_{name}.sql"
    moment = now.strftime(_ID)
    if path.exists():
        raise BadMigration(f"{path} is there already")
    if moment <= _newest(read(folder)):
        raise BadMigration(f"there is a later migration than {moment}: is the clock right?")
    path.write_text(f"-- {moment}: {name.replace('_', ' ')}\n\n")
    return path


def _newest(found: Iterable[Migration]) -> str:
    return max((one.id for one in found), default="")
