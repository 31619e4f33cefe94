"""One unit of work per transaction: a row is read and locked once, and written once.

Use cases call each other inside one transaction, and each needs the workspace, the run, the phase.
The first :func:`lock` of a row reads and locks it; whoever asks after that gets the latest version,
without a statement. :func:`save` notes what differs between two versions; at the end one UPDATE for
each changed row writes the changed columns, in the order in which the rows were locked, and after
the rows whatever else waits for the end, such as events.

What of one row several have changed is merged field by field: :func:`save` takes the version that
the caller started from, so it never takes back what somebody in between has changed of other
fields. Of one field the last word counts.

**Nothing stale is read.** A statement that names a table with unwritten changes is preceded by
writing them, and rows of a table that a statement of somebody else has changed are read anew when
they are asked for (they stay locked). That is done for every statement by its text, so nobody has
to think of it; only what reads a table that it does not name (a trigger, a function, a cascade of
the database) needs an :func:`flush` before it, or :func:`forget` after. Reading in the middle costs
an UPDATE more, so read first and change then.

What is wrong with a change (a value that is taken) is raised where it is written: at the end. Who
wants to catch it inside the transaction does so around :func:`db.savepoint`, which writes what
waits before it ends. When a savepoint comes to nothing, the unit goes back to what it knew at its
beginning: rows that were locked inside are locked no more.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from terrapod_control_plane.kernel import transactions
from terrapod_control_plane.kernel.repository import Repository

M = TypeVar("M", bound=Struct)

_SPACES = re.compile(r"\s+")
_NAMED = re.compile(r"(?:\b(?:from|join|into|update|using)|,) (?:only )?\"?(\w+)")
# What a statement changes of rows that are there; an insert changes none, unless it says so.
_CHANGED = re.compile(r"(?<!for )(?<!key )\bupdate (?:only )?\"?(\w+)|\bdelete from \"?(\w+)")
_INSERTED = re.compile(r"\binsert into \"?(\w+)")


class NotLocked(RuntimeError):
    """A change of a row that the transaction has not locked: a mistake in the code."""


class RowGone(RuntimeError):
    """A row has been deleted in the transaction that wanted to change it afterwards."""


class _Row(Struct, Generic[M], frozen=True):
    """A row that the transaction has locked: as it was read, and as it shall be."""

    repository: Repository[M]
    written: M
    latest: M
    dirty: frozenset[str] = frozenset()  # fields that somebody has set
    stale: bool = False  # a statement may have changed it

    def to_write(self) -> tuple[str, ...]:
        """The fields to write; of a stale row all that were set, for the others nobody knows."""
        names = sorted(self.dirty)
        return tuple(n for n in names if self.stale or self._differs(n))

    def _differs(self, name: str) -> bool:
        return bool(getattr(self.written, name) != getattr(self.latest, name))

    def saved(self, old: M, new: M) -> "_Row[M]":
        """The row with what differs between two versions."""
        names = self.repository.changed(old, new)
        latest = replace(self.latest, **{name: getattr(new, name) for name in names})
        dirty = self.dirty.union(names)
        return _Row(self.repository, self.written, latest, dirty, self.stale)

    def read_again(self, found: M) -> "_Row[M]":
        """The row as it was found now, with what was set and is not written."""
        unwritten = {name: getattr(self.latest, name) for name in self.to_write()}
        return _Row(self.repository, found, replace(found, **unwritten), frozenset(unwritten))

    def doubted(self) -> "_Row[M]":
        """The row, which is to be read again."""
        return _Row(self.repository, self.written, self.latest, self.dirty, stale=True)


_Key = tuple[str, tuple[object, ...]]


class UnitOfWork:
    """The rows of one transaction; a participant of it."""

    def __init__(self) -> None:
        self._rows: dict[_Key, _Row[Any]] = {}  # in the order of their locking

    async def lock(self, repository: Repository[M], *key: object) -> M | None:
        """See :func:`lock`."""
        at = (repository.table, key)
        known: _Row[M] | None = self._rows.get(at)
        if known is not None and not known.stale:
            return known.latest
        found = await _fetched(repository, *repository.locking(*key))
        if found is None:
            self._rows.pop(at, None)
            return None
        return self._read(at, repository, found)

    def known(self, repository: Repository[M], *key: object) -> M | None:
        """See :func:`known`."""
        row: _Row[M] | None = self._rows.get((repository.table, key))
        return None if row is None or row.stale else row.latest

    def adopt(self, repository: Repository[M], stored: M) -> M:
        """See :func:`adopt`."""
        at = (repository.table, repository.key_of(stored))
        known: _Row[M] | None = self._rows.get(at)
        if known is not None and not known.stale:
            return known.latest
        return self._read(at, repository, stored)

    def _read(self, at: _Key, repository: Repository[M], found: M) -> M:
        known: _Row[M] | None = self._rows.get(at)
        row = _Row(repository, found, found) if known is None else known.read_again(found)
        self._rows[at] = row
        return row.latest

    def save(self, repository: Repository[M], old: M, new: M) -> M:
        """See :func:`save`."""
        at = (repository.table, repository.key_of(old))
        known: _Row[M] | None = self._rows.get(at)
        if known is None:
            raise NotLocked(f"{repository.table} {at[1]} is not locked in this transaction")
        row = self._rows[at] = known.saved(old, new)
        return row.latest

    async def before(self, sql: str) -> None:
        """Write what a statement has to see, and doubt what it may change."""
        if not self._rows:
            return
        named, changed = _tables(sql)
        await self._write([key for key in self._rows if key[0] in named])
        for key in [key for key in self._rows if key[0] in changed]:
            self._rows[key] = self._rows[key].doubted()

    async def flush(self) -> None:
        """Write all changes."""
        await self._write(list(self._rows))

    async def finish(self) -> None:
        """Nothing comes after the rows."""

    def mark(self) -> Callable[[], None]:
        """How to go back to the rows of now."""
        rows = dict(self._rows)

        def back() -> None:
            self._rows = rows

        return back

    def forget(self) -> None:
        """See :func:`forget`."""
        self._rows = {key: row.doubted() for key, row in self._rows.items()}

    async def _write(self, keys: list[_Key]) -> None:
        opened = _transaction()
        for key in keys:
            row = self._rows[key]
            if not row.dirty:
                continue
            names = row.to_write()
            if names:
                sql, args = row.repository.update_of(row.latest, names)
                if await opened.connection.execute(sql, *args) == "UPDATE 0":
                    raise RowGone(f"{key[0]} {key[1]} has been deleted")
            self._rows[key] = _Row(row.repository, row.latest, row.latest, stale=row.stale)


async def _fetched(repository: Repository[M], sql: str, args: tuple[object, ...]) -> M | None:
    # Not through `db`: a row is found by its key, whatever waits for other rows of its table.
    found = await _transaction().connection.fetchrow(sql, *args)
    return None if found is None else repository.to_model(found)


@lru_cache(maxsize=2048)
def _tables(sql: str) -> tuple[frozenset[str], frozenset[str]]:
    """The tables that a statement may name, and those in which it may change rows."""
    text = _SPACES.sub(" ", sql.lower())
    changed = {name for found in _CHANGED.findall(text) for name in found}
    if " on conflict" in text:
        changed.update(_INSERTED.findall(text))
    return frozenset(_NAMED.findall(text)), frozenset(changed)


def _transaction() -> transactions.Transaction:
    opened = transactions.current()
    if opened is None:
        raise RuntimeError("a unit of work needs a transaction")
    return opened


def _unit() -> UnitOfWork:
    return _transaction().participant(UnitOfWork)


async def lock(repository: Repository[M], *key: object) -> M | None:
    """The latest version of a row, locked until the end of the transaction, if there is one.

    The workspace is locked first, then its run, then its phase.
    """
    return await _unit().lock(repository, *key)


async def get(repository: Repository[M], *key: object) -> M | None:
    """A row as it is for the caller: what the transaction knows of it, else read without a lock."""
    opened = transactions.current()
    known = opened and opened.participant(UnitOfWork).known(repository, *key)
    return known or await repository.get(*key)


def adopt(repository: Repository[M], stored: M) -> M:
    """Know a row that was read under a lock by a query of its own, in this transaction.

    Gives the latest version, which is another one if the row was known already.
    """
    return _unit().adopt(repository, stored)


async def insert(repository: Repository[M], new: M) -> M:
    """Store a new row at once, and know it; with what the database has made of it."""
    return adopt(repository, await repository.insert(new))


def save(repository: Repository[M], old: M, new: M) -> M:
    """Note what differs between a version of a locked row and a newer one; the latest version.

    Raises:
        NotLocked: The row was neither locked nor made in this transaction.
    """
    return _unit().save(repository, old, new)


async def flush() -> None:
    """Write all changes now, for whatever reads them without naming their table."""
    await _transaction().flush()


def forget() -> None:
    """Read all rows anew when they are asked for: something changed them without naming them."""
    _unit().forget()
