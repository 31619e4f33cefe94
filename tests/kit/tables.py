"""Every table of ours and the model of its rows, found by itself."""

from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec import Struct
from piccolo.table import Table

from terrapod_control_plane import migrations
from terrapod_control_plane.kernel.repository import Repository
from terrapod_control_plane.runs.recovery.model import Finding
from terrapod_control_plane.runs.recovery.tables import RecoveryFindings

_PACKAGE = Path(migrations.__path__[0]).parent


class Rows(Struct, frozen=True):
    """A table and what its rows become."""

    table: type[Table]
    model: type[Struct]
    made: frozenset[str] = frozenset()  # columns that the database fills, and the model carries
    beside: frozenset[str] = frozenset()  # columns that the model does not carry
    computed: frozenset[str] = frozenset()  # fields that are no columns

    @property
    def name(self) -> str:
        """The table in SQL."""
        return str(self.table._meta.tablename)


# Without a repository yet.
_BY_HAND = [
    Rows(RecoveryFindings, Finding),
]


def _modules(name: str) -> list[Any]:
    paths = sorted(_PACKAGE.rglob(name))
    parts = [path.relative_to(_PACKAGE.parent).with_suffix("").parts for path in paths]
    return [import_module(".".join(each)) for each in parts]


def tables() -> dict[str, type[Table]]:
    """All tables of piccolo, by their names in SQL."""
    declared = [
        value
        for module in _modules("tables.py")
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Table) and value is not Table
    ]
    return {str(table._meta.tablename): table for table in declared}


def rows() -> dict[str, Rows]:
    """What rows become: told by the repositories, and by hand where there is none."""
    known, found = tables(), {each.name: each for each in _BY_HAND}
    seen: dict[str, Repository[Any]] = {}
    for module in _modules("queries.py"):
        for value in vars(module).values():
            if isinstance(value, Repository) and value is not seen.get(value.table):
                seen[value.table] = value  # a queries.py below may use it too
                if value.table in found:
                    raise AssertionError(f"{value.table} has a repository: take it off the list")
                found[value.table] = Rows(
                    known[value.table],
                    value.model,
                    frozenset(value.made),
                    frozenset(value.beside),
                    frozenset(value.computed),
                )
    return found
