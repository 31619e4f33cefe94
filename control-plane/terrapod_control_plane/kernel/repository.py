"""A repository over a table: rows in, models out, and the text of each statement made once.

Piccolo's table says which columns there are and of what type; its building of statements is not
used, for it takes longer than the statement itself. What is fixed for a table is made when the
repository is made, at import: the list of columns, the statements, how a model becomes arguments.

A model and its table have to fit then: every field is a column or is declared ``computed``, every
column is a field or is declared ``beside``. Selects name their columns, so a process of before a
migration is not disturbed by what the migration adds.

Rows become models by ``msgspec.convert``, which also checks them: 2.7 µs for a run of 40 columns. A
constructor that is written for the model and checks nothing takes 1.6 µs; that is not worth it.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields, replace
from piccolo.columns import JSONB, Array
from piccolo.table import Table

from terrapod_control_plane.kernel import db, statements
from terrapod_control_plane.kernel.pages import Page, Paging

M = TypeVar("M", bound=Struct)
Locking = Literal["for update", "for no key update"]

_AT_ONCE = 16  # rows of one statement: each number of them is a text of its own


class Repository(Generic[M]):
    """The rows of a table as models.

    Args:
        table: Piccolo's table.
        model: The struct; its fields are named like the columns.
        key: Columns that name a row together, where that is not piccolo's primary key.
        made: Columns that the database fills: never written, told by :meth:`insert`.
        beside: Columns that the model does not carry, for statements of their own.
        computed: Fields that are no columns, for queries of their own; they need a default.
        locking: How :meth:`lock` locks; the weaker one lets others refer to the row meanwhile.

    Raises:
        TypeError: Table and model do not fit.
    """

    def __init__(
        self,
        table: type[Table],
        model: type[M],
        *,
        key: Sequence[str] = (),
        made: Sequence[str] = (),
        beside: Sequence[str] = (),
        computed: Sequence[str] = (),
        locking: Locking = "for update",
    ) -> None:
        columns = {c._meta.name: c for c in table._meta.columns}  # noqa: SLF001 - documented
        primary = [name for name, column in columns.items() if column._meta.primary_key]  # noqa: SLF001
        self.table: str = table._meta.tablename  # noqa: SLF001 - documented
        self.model = model
        self.made, self.beside, self.computed = tuple(made), tuple(beside), tuple(computed)
        self.key: tuple[str, ...] = tuple(key) or tuple(primary)
        known = [*columns, *(name for name in made if name not in columns)]
        _must_fit(self.table, model, known, beside, computed)
        self.fields = tuple(name for name in known if name not in beside)
        self.columns = statements.columns(self.fields)
        self._list: type[list[M]] = list[model]  # type: ignore[valid-type]  # it is a value too
        self._key_of: Callable[[M], Any] = attrgetter(*self.key)
        written = [name for name in self.fields if name not in made]
        self._encoders = {name: _encoder(columns[name]) for name in written}
        self._insert = _Writing([(name, self._encoders[name]) for name in written])
        self._settable = tuple(name for name in written if name not in self.key)
        by_key = statements.by_key(self.table, self.columns, self.key)
        self._get, self._lock = by_key, f"{by_key} {locking}"
        self._many = statements.many(self.table, self.columns, self.key[0])
        self._delete = statements.delete(self.table, self.key)
        self._update = lru_cache(maxsize=None)(self._updating)

    # rows ------------------------------------------------------------------------------------

    def to_model(self, row: Mapping[str, Any]) -> M:
        """The model of a row that has :attr:`columns`."""
        return msgspec.convert(dict(row), self.model)

    def to_models(self, rows: Sequence[Mapping[str, Any]]) -> list[M]:
        """The models of rows that have :attr:`columns`."""
        return msgspec.convert([dict(row) for row in rows], self._list)

    async def one(self, sql: str, *args: object) -> M | None:
        """The first row of a query that selects :attr:`columns`, or nothing."""
        found = await db.row(sql, *args)
        return None if found is None else self.to_model(found)

    async def all(self, sql: str, *args: object) -> list[M]:
        """All rows of a query that selects :attr:`columns`."""
        return self.to_models(await db.rows(sql, *args))

    # reading ---------------------------------------------------------------------------------

    async def get(self, *key: object) -> M | None:
        """The row with this key, or nothing."""
        return await self.one(self._get, *key)

    async def lock(self, *key: object) -> M | None:
        """The row with this key, which nobody else changes until the end of the transaction."""
        return await self.one(self._lock, *key)

    async def many(self, keys: Sequence[object]) -> list[M]:
        """The rows with these keys, in no order; those that are missing are left out."""
        return await self.all(self._many, keys) if keys else []

    async def first(self, where: str, *args: object) -> M | None:
        """The first row of a condition, which may go on with an order and a lock."""
        return await self.one(statements.where(self.table, self.columns, where), *args)

    async def where(self, where: str, *args: object) -> list[M]:
        """The rows of a condition, which may go on with an order, a limit and a lock."""
        return await self.all(statements.where(self.table, self.columns, where), *args)

    async def page(
        self, where: str, *args: object, order: str, paging: Paging, also: str = ""
    ) -> Page[M]:
        """A page of the rows of a condition, with how many there are of them in all.

        ``also`` selects the computed fields, if the model has some that shall be shown.
        """
        selected = f"{self.columns}, {also}" if also else self.columns
        sql = statements.page(self.table, selected, where, order, len(args))
        found = await db.rows(sql, *args, paging.size, paging.offset)
        # Behind the end no row says how many there are, so the first one is asked.
        told = found or (await db.rows(sql, *args, 1, 0) if paging.number > 1 else [])
        return Page(self.to_models(found), paging, told[0][statements.IN_ALL] if told else 0)

    # writing ---------------------------------------------------------------------------------

    async def insert(self, new: M) -> M:
        """Store a model as a new row; the model with what the database has made."""
        return (await self.insert_all([new]))[0]

    async def insert_all(self, new: Sequence[M]) -> list[M]:
        """Store models as new rows, many in one statement; as :meth:`insert`, in the same order."""
        stored: list[M] = []
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            writing = self._insert
            told = (*self.key, *self.made) if self.made else ()
            sql = statements.insert(self.table, writing.names, len(some), told)
            args = [value for each in some for value in writing.values(each)]
            stored += await self._stored(some, sql, args)
        return stored

    async def _stored(self, new: Sequence[M], sql: str, args: Sequence[object]) -> Sequence[M]:
        if not self.made:
            await db.execute(sql, *args)
            return new
        told = await db.rows(sql, *args)
        by_key = {tuple(row[name] for name in self.key): row for row in told}
        rows = [by_key[self.key_of(each)] for each in new]
        made = [{name: row[name] for name in self.made} for row in rows]
        return [replace(each, **values) for each, values in zip(new, made, strict=True)]

    async def save(self, old: M, new: M) -> bool:
        """Write what differs between two versions of a row; false if the row is gone.

        Versions that do not differ cost nothing, and are not looked up.
        """
        return await self._written(new, self.changed(old, new))

    async def save_fields(self, new: M, *names: str) -> bool:
        """Write these fields, whatever they were before; false if the row is gone."""
        return await self._written(new, names)

    async def _written(self, new: M, names: tuple[str, ...]) -> bool:
        if not names:
            return True
        sql, args = self.update_of(new, names)
        return await db.execute(sql, *args) > 0

    async def delete(self, *key: object) -> bool:
        """Remove the row with this key; false if there was none."""
        return await db.execute(self._delete, *key) > 0

    # for the unit of work --------------------------------------------------------------------

    def key_of(self, model: M) -> tuple[object, ...]:
        """The key of a model's row."""
        found: Any = self._key_of(model)
        return found if len(self.key) > 1 else (found,)

    def locking(self, *key: object) -> tuple[str, tuple[object, ...]]:
        """The statement of :meth:`lock`, with its arguments."""
        return self._lock, key

    def changed(self, old: M, new: M) -> tuple[str, ...]:
        """The names of the fields in which two versions of a row differ.

        Raises:
            ValueError: They are of different rows.
        """
        if self.key_of(old) != self.key_of(new):
            raise ValueError(f"{self.key_of(old)} and {self.key_of(new)} are different rows")
        return tuple(n for n in self._settable if getattr(old, n) != getattr(new, n))

    def update_of(self, new: M, names: tuple[str, ...]) -> tuple[str, list[object]]:
        """The statement that writes these fields of a row, with its arguments."""
        sql, writing = self._update(names)
        return sql, [*self.key_of(new), *writing.values(new)]

    def _updating(self, names: tuple[str, ...]) -> tuple[str, "_Writing"]:
        writing = _Writing([(name, self._encoders[name]) for name in names])
        return statements.update(self.table, self.key, names), writing


class _Writing:
    """How a model becomes the arguments of a statement."""

    def __init__(self, columns: Sequence[tuple[str, Callable[[Any], object] | None]]) -> None:
        self.names = tuple(name for name, _ in columns)
        self._get = attrgetter(*self.names)
        self._encoders = [(n, encode) for n, (_, encode) in enumerate(columns) if encode]

    def values(self, model: Struct) -> list[object]:
        """The arguments, in the order of the names."""
        found = self._get(model)
        values: list[object] = list(found) if len(self.names) > 1 else [found]
        for position, encode in self._encoders:
            values[position] = encode(values[position])
        return values


def _encoder(column: Any) -> Callable[[Any], object] | None:
    if isinstance(column, JSONB):
        return lambda value: None if value is None else db.encode(value)
    if isinstance(column, Array):
        return lambda value: None if value is None else [_plain(each) for each in value]
    return _plain if column.value_type is str else None


def _plain(value: object) -> object:
    return value.value if isinstance(value, enum.Enum) else value


def _must_fit(
    table: str, model: type, known: Sequence[str], beside: Sequence[str], computed: Sequence[str]
) -> None:
    given = {field.name: field for field in fields(model)}
    bare = [f.name for f in given.values() if f.default is NODEFAULT is f.default_factory]
    wrong = {
        "are fields without a column": set(given) - set(known) - set(computed),
        "are columns without a field": set(known) - set(given) - set(beside),
        "are declared, but not there": (set(beside) - set(known)) | (set(computed) - set(given)),
        "are declared otherwise than they are": set(beside) & set(given)
        | set(computed) & set(known),
        "are computed without a default": set(computed) & set(bare),
    }
    for what, names in wrong.items():
        if names:
            raise TypeError(f"{model.__name__} and {table}: {', '.join(sorted(names))} {what}")
