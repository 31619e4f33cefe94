"""A slice's SQL names its own tables: what another one has is asked of its service.

A join across slices would copy that slice's rules, above all who may see what, to where nobody
looks for them when they change.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.source import CONTROL, hold_paths, tree_of

MIGRATIONS = CONTROL / "migrations" / "versions"
TABLES = set(
    re.findall(r"create table (\w+)", "".join(p.read_text() for p in MIGRATIONS.glob("*.sql")))
)
# Written by SQL alone, in bulk or in a hurry, so no piccolo table stands for them.
ALSO = {
    "runs": {"log_chunks"},
    "states": {"state_excerpts"},
    "workspaces": {"deleted_workspaces", "remote_state_consumers"},
}
# Of the kernel: the epoch of fences and the pause.
EVERYBODYS = {"installation"}
QUERIES = sorted(CONTROL.rglob("queries.py"))
NAMED = re.compile(r"\b(?:from|join|into|update)\s+(\w+)", re.IGNORECASE)


def owned(slice_: str) -> set[str]:
    """The tables that a slice and its sub-slices declare."""
    declared = "".join(path.read_text() for path in (CONTROL / slice_).rglob("tables.py"))
    return set(re.findall(r'tablename="(\w+)"', declared)) | ALSO.get(slice_, set()) | EVERYBODYS


def named(tree: ast.Module) -> set[str]:
    """The tables that the texts of a module name, docstrings apart."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.AsyncFunctionDef | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    texts = (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
    )
    return {name for text in texts for name in NAMED.findall(text)} & TABLES


def foreign(path: Path) -> set[str]:
    """The tables of other slices that a file names."""
    others = named(tree_of(path)) - owned(path.relative_to(CONTROL).parts[0])
    return {f"{table} is another slice's: its internal or service answers" for table in others}


def test_sql_names_the_tables_of_its_slice() -> None:
    hold_paths(QUERIES, foreign)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('SQL = "select * from runs r join workspaces w on true"', {"runs", "workspaces"}),
        ('SQL = "update runs set x = 1"', {"runs"}),
        ('SQL = f"select count(*) from users where {x}"', {"users"}),
        ('def f():\n    """Taken from runs."""', set()),
        ('SQL = "select 1 from unnest($1)"', set()),
    ],
)
def test_the_search_for_tables(source: str, found: set[str]) -> None:
    assert named(ast.parse(source)) == found
