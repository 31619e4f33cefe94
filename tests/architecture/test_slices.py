"""How the control plane is divided, and what its files may import."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from terrapod_control_plane.app import SLICES
from terrapod_control_plane.kernel.outbox import Event
from tests.architecture.slices import (
    ABOVE,
    BELOW,
    HOME,
    TOP,
    Module,
    cycle,
    imported,
    modules,
    trespasses,
)

ORDER = tuple(one.name for one in SLICES)
KNOWN = modules()
IN_SLICES = [module for module in KNOWN.values() if module.slice]


def use_cases(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The public functions of a service."""
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name[0] != "_":
            yield node


def asks(statement: ast.stmt) -> bool:
    """Whether a statement asks for permission, or says why that needs none."""
    if not isinstance(statement, ast.Expr | ast.Assign | ast.AnnAssign):
        return False
    match statement.value:
        case ast.Await(value=ast.Call(func=function)):
            return ast.unparse(function) == "ctx.must"
        case ast.Call(func=function, args=[first, *_]):
            said = isinstance(first, ast.Constant) and isinstance(first.value, str)
            name = ast.unparse(function)
            return name == "ctx.signed" or (name == "ctx.public" and said)
    return False


def unguarded(tree: ast.Module) -> list[str]:
    """Use cases that do not ask for permission first."""
    return [
        f"{use_case.name} (line {use_case.lineno})"
        for use_case in use_cases(tree)
        if not asks(use_case.body[bool(ast.get_docstring(use_case)) :][0])
    ]


def aliases(module: Module) -> Iterator[tuple[str, str]]:
    """The names that a file gives to modules of slices, with those modules."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{TOP}."):
            for alias in node.names:
                home = f"{node.module}.{alias.name}".removeprefix(f"{TOP}.")
                target = KNOWN.get(home)
                if target is not None and target.slice:
                    yield alias.asname or alias.name, home


def test_every_folder_is_a_slice_or_stands_below_or_above_them() -> None:
    folders = {path.name for path in (HOME / TOP).iterdir() if (path / "__init__.py").exists()}
    assert folders == {*ORDER, *BELOW, *ABOVE}


def test_every_slice_declares_itself_under_its_name() -> None:
    for name in ORDER:
        assert f"{name}.slice" in KNOWN


def test_permission_comes_first() -> None:
    found = {m.name: unguarded(m.tree) for m in IN_SLICES if m.kind == "service"}
    late = {name: some for name, some in found.items() if some}
    assert not late, f"not `await ctx.must(...)` as the first statement: {late}"


def test_files_import_what_their_kind_may() -> None:
    found = trespasses(KNOWN, ORDER)
    rules = "what each kind of file may import: docs/architecture.md, Kinds of files"
    assert not found, "\n".join(("", *found, rules))


def test_nothing_imports_in_a_circle() -> None:
    assert not cycle(KNOWN)


def test_one_name_means_one_module() -> None:
    """A bare ``queries`` is that of the own folder or one above; another one has a longer name."""
    meant: dict[str, set[str]] = {}
    for module in KNOWN.values():
        for name, home in aliases(module):
            folder, _, own = home.rpartition(".")
            if name == own:
                inside = f"{module.folder}.".startswith(f"{folder}.")
                assert inside or own not in {"service", "internal", "queries"}, module.name
            else:
                meant.setdefault(name, set()).add(home)
    assert not {name: homes for name, homes in meant.items() if len(homes) > 1}


def test_every_id_that_is_made_is_of_a_declared_kind() -> None:
    declared = {kind for one in SLICES for kind in one.kinds}
    made = {
        ast.literal_eval(node.args[0])
        for module in KNOWN.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"ids.new", "ids.part"}
    }
    assert made
    assert made <= declared, f"kinds of no slice.py: {made - declared}"


def test_every_event_has_a_kind_of_its_own() -> None:
    """Rows of the outbox and of the audit record are told apart by it."""
    kinds: dict[str, list[str]] = {}
    for module in (module for module in IN_SLICES if module.kind == "events"):
        for name, event in vars(importlib.import_module(f"{TOP}.{module.name}")).items():
            own = isinstance(event, type) and issubclass(event, Event) and event is not Event
            if own and name[0] != "_" and event.__module__ == f"{TOP}.{module.name}":
                kinds.setdefault(event.kind, []).append(f"{module.name}.{name}")
    assert kinds
    assert "" not in kinds, f"without a kind: {kinds['']}"
    twice = {kind: events for kind, events in kinds.items() if len(events) > 1}
    assert not twice, f"the same kind: {twice}"


def test_no_function_is_called_of() -> None:
    named = [
        module.name
        for module in KNOWN.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "of"
    ]
    assert not named


# --- the rules themselves -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "free"),
    [
        ("await ctx.must(1)", True),
        ("scope = await ctx.must(1)", True),
        ("'What it does.'; await ctx.must(1)", True),
        ("id_ = ctx.signed(token, 'x')", True),
        ("ctx.public('why')", True),
        ("ctx.public(why)", False),
        ("x = 1; await ctx.must(1)", False),
        ("ctx.must(1)", False),
        ("await ctx.must(1) if strict else None", False),
        ("await ctx.must(1) or fallback", False),
        ("ctx.signed(token, 'x') if token else None", False),
        ("ctx.public('why') or 1", False),
        ("return queries.all()", False),
    ],
)
def test_the_search_for_unguarded_use_cases(body: str, *, free: bool) -> None:
    assert unguarded(ast.parse(f"async def show(ctx): {body}")) == (
        [] if free else ["show (line 1)"]
    )
    assert not unguarded(ast.parse(f"async def _show(ctx): {body}"))


FILES = {
    "kernel/db.py": "",
    "kernel/transactions.py": "",
    "web/auth.py": "",
    "first/model.py": "",
    "first/actions.py": "",
    "first/tables.py": "",
    "first/queries.py": "",
    "first/internal.py": "",
    "first/service.py": "",
    "first/events.py": "",
    "first/schema.py": "",
    "first/part/queries.py": "",
    "second/other/queries.py": "",
    "second/service.py": "",
    "second/model.py": "",
}


def refused(tmp_path: Path, path: str, line: str) -> bool:
    """Whether a file with this one import breaks a rule."""
    for name, text in (FILES | {path: line}).items():
        file = tmp_path / TOP / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return bool(trespasses(modules(tmp_path), ("first", "second")))


@pytest.mark.parametrize(
    ("path", "line", "free"),
    [
        ("second/service.py", "from terrapod_control_plane.first import internal as first", True),
        ("second/service.py", "from terrapod_control_plane.first.model import Thing", True),
        ("second/service.py", "from terrapod_control_plane.first.events import Made", True),
        ("second/service.py", "from terrapod_control_plane.first import queries", False),
        ("second/service.py", "from terrapod_control_plane.first.queries import get", False),
        ("second/service.py", "import terrapod_control_plane.first.queries as q", False),
        ("second/service.py", "from ..first import tables", False),
        ("second/service.py", "from terrapod_control_plane.first.schema import Doc", False),
        (
            "second/service.py",
            "def f():\n from terrapod_control_plane.first import tables",
            False,
        ),
        ("second/service.py", "from litestar import get", False),
        ("second/service.py", "import piccolo", False),
        ("second/service.py", "from terrapod_control_plane.web import auth", False),
        ("second/service.py", "from terrapod_control_plane.kernel import db", True),
        ("second/service.py", "from terrapod_control_plane.second.other import queries", False),
        ("second/views.py", "from terrapod_control_plane.first.schema import Doc", True),
        ("second/views.py", "from terrapod_control_plane.kernel import db", False),
        ("second/api.py", "from terrapod_control_plane.first import internal", False),
        ("second/api.py", "from terrapod_control_plane.web import auth", True),
        ("second/queries.py", "from piccolo.table import Table", True),
        ("second/queries.py", "from terrapod_control_plane.first.model import Thing", True),
        ("second/queries.py", "from terrapod_control_plane.first.tables import Things", False),
        ("second/model.py", "from terrapod_control_plane.kernel import db", False),
        ("second/views.py", "from terrapod_control_plane.kernel import transactions", False),
        ("second/anything.py", "from terrapod_control_plane.first.model import Thing", True),
        ("second/anything.py", "from terrapod_control_plane.kernel import db", False),
        ("second/anything.py", "from terrapod_control_plane.second import service", False),
        ("second/anything.py", "from litestar import get", False),
        ("second/other/internal.py", "from terrapod_control_plane.second import service", False),
        ("first/part/internal.py", "from terrapod_control_plane.first import queries", True),
        ("first/service.py", "from terrapod_control_plane.second.model import Thing", False),
    ],
)
def test_the_rules_of_imports(tmp_path: Path, path: str, line: str, *, free: bool) -> None:
    assert refused(tmp_path, path, line) is not free


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from top.b import service", "top.b.service"),
        ("import top.b.service", "top.b.service"),
        ("from ..b import model", "top.b.model"),
        ("from ..b.model import Thing", "top.b.model.Thing"),
        ("from . import queries", "top.a.queries"),
    ],
)
def test_the_search_for_imports(line: str, found: str) -> None:
    assert list(imported(ast.parse(line), "top.a")) == [found]


def test_the_search_for_circles(tmp_path: Path) -> None:
    for name, line in (("a", "from terrapod_control_plane.x import b"), ("b", "x = 1")):
        file = tmp_path / TOP / "x" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{line}\n")
    assert not cycle(modules(tmp_path))
    (tmp_path / TOP / "x" / "b.py").write_text("from terrapod_control_plane.x import a\n")
    assert cycle(modules(tmp_path)) == ["x.a", "x.b", "x.a"]
