"""The texts of statements, each made once; names are ours, values are always parameters.

PostgreSQL's driver knows a prepared statement by its text, so there are only as many texts as there
are statements in the code: no value and no number of values is ever a part of one.
"""

from collections.abc import Sequence
from functools import lru_cache

# The names are those of tables and columns, never anything from outside.
# ruff: noqa: S608

_once = lru_cache(maxsize=None)


def columns(names: Sequence[str], of: str = "") -> str:
    """The list of columns, of an alias if one is given."""
    prefix = f"{of}." if of else ""
    return ", ".join(f'{prefix}"{name}"' for name in names)


def _equal(names: Sequence[str], first: int = 1) -> list[str]:
    return [f'"{name}" = ${number}' for number, name in enumerate(names, first)]


def by_key(table: str, selected: str, key: Sequence[str]) -> str:
    """The row with a key."""
    return f"select {selected} from {table} where {' and '.join(_equal(key))}"


def many(table: str, selected: str, key: str) -> str:
    """The rows with some keys."""
    return f'select {selected} from {table} where "{key}" = any($1)'


@_once
def where(table: str, selected: str, condition: str) -> str:
    """The rows of a condition."""
    return f"select {selected} from {table} where {condition}"


IN_ALL = "in_all"  # how many rows a condition has, beside each row of a page


@_once
def page(table: str, selected: str, condition: str, order: str, args: int) -> str:
    """The rows of a condition in an order; limit and offset are the last parameters."""
    in_all = f"(select count(*) from {table} where {condition}) as {IN_ALL}"
    rows = where(table, f"{selected}, {in_all}", condition)
    return f"{rows} order by {order} limit ${args + 1} offset ${args + 2}"


@_once
def insert(table: str, names: tuple[str, ...], rows: int, returning: tuple[str, ...]) -> str:
    """Some new rows, and what is told of them."""
    width = len(names)
    groups = (
        ", ".join(f"${row * width + number}" for number in range(1, width + 1))
        for row in range(rows)
    )
    values = ", ".join(f"({group})" for group in groups)
    told = f" returning {columns(returning)}" if returning else ""
    return f"insert into {table} ({columns(names)}) values {values}{told}"


def update(table: str, key: Sequence[str], names: Sequence[str]) -> str:
    """New values of some columns of the row with a key, which is the first parameter."""
    values = ", ".join(_equal(names, len(key) + 1))
    return f"update {table} set {values} where {' and '.join(_equal(key))}"


def delete(table: str, key: Sequence[str]) -> str:
    """The end of the row with a key."""
    return f"delete from {table} where {' and '.join(_equal(key))}"
