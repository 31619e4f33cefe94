"""Rules that no linter knows."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTROL = ROOT / "control-plane" / "terrapod_control_plane"
AGENT = ROOT / "agent" / "terrapod_agent"
COMMON = ROOT / "common" / "terrapod_common"
OURS = sorted(path for home in (CONTROL, AGENT, COMMON) for path in home.rglob("*.py"))
WRITTEN = [path for path in OURS if "versions" not in path.parts]  # migrations are generated
TESTS = sorted((ROOT / "tests").rglob("*.py"))

SERVICES = sorted(CONTROL.rglob("service.py"))
SLICES = {".".join(path.parent.relative_to(ROOT / "control-plane").parts) for path in SERVICES}
ENTERING = [  # all of the server but `app`, which puts the slices together
    path for path in WRITTEN if path.is_relative_to(CONTROL) and path != CONTROL / "app.py"
]

LONGEST_FILE = 300
LONGEST_FUNCTION = 40

# Where an unknown error ends: a loop goes on, a request is answered, a run is errored.
CATCH_ALL = {
    COMMON / "loops.py",
    CONTROL / "web" / "errors.py",
    AGENT / "attempt.py",  # and a phase that has ended is reported
    AGENT / "work" / "phase.py",
}
READS_ENVIRONMENT = {
    CONTROL / "cli" / "settings.py",
    CONTROL / "migrations" / "run.py",  # tells piccolo where its configuration is
    AGENT / "settings.py",
}


def name_of(path: Path) -> str:
    """A file as a test's name: ``terrapod_agent/work/plan.py``."""
    return "/".join(path.relative_to(ROOT).parts[1:])


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


def each(paths: list[Path]) -> pytest.MarkDecorator:
    """One test for each file."""
    return pytest.mark.parametrize("path", paths, ids=name_of)


# --- use cases ------------------------------------------------------------------------------------


def use_cases(tree: ast.Module) -> Iterator[ast.AsyncFunctionDef]:
    """The public coroutines of a service, in classes too."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in [*tree.body, *(member for each_ in classes for member in each_.body)]:
        if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node


def asks(statement: ast.stmt) -> bool:
    """Whether a statement is ``await ctx.must(...)``, its answer kept or not."""
    return (
        isinstance(statement, ast.Expr | ast.Assign | ast.AnnAssign)
        and isinstance(statement.value, ast.Await)
        and ast.unparse(statement.value).startswith("await ctx.must(")
    )


def unguarded(tree: ast.Module) -> list[str]:
    """Use cases that neither ask for permission first nor say that they need none."""
    return [
        f"{use_case.name} (line {use_case.lineno})"
        for use_case in use_cases(tree)
        if "internal" not in map(ast.unparse, use_case.decorator_list)
        and not asks(use_case.body[bool(ast.get_docstring(use_case)) :][0])
    ]


@each(SERVICES)
def test_permission_comes_first(path: Path) -> None:
    assert not unguarded(tree_of(path))


@pytest.mark.parametrize(
    ("body", "free"),
    [
        ("await ctx.must(1)", True),
        ("scope = await ctx.must(1)", True),
        ("'What it does.'; await ctx.must(1)", True),
        ("x = 1; await ctx.must(1)", False),
        ("ctx.must(1)", False),
        ("return queries.all()", False),
    ],
)
def test_the_search_for_unguarded_use_cases(body: str, *, free: bool) -> None:
    assert unguarded(ast.parse(f"async def show(ctx): {body}")) == (
        [] if free else ["show (line 1)"]
    )
    assert not unguarded(ast.parse(f"@internal\nasync def show(ctx): {body}"))
    assert not unguarded(ast.parse(f"async def _show(ctx): {body}"))


# --- imports --------------------------------------------------------------------------------------


def imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Everything that a module of ``package`` imports, anywhere in it, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            home = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield from (f"{home}.{alias.name}" for alias in node.names)


def trespasses(tree: ast.Module, package: str, doors: set[str], slices: set[str]) -> list[str]:
    """Imports that enter another slice by something that is no door."""
    found = []
    for name in imported(tree, package):
        entered = max((s for s in slices if f"{name}.".startswith(f"{s}.")), key=len, default=None)
        if entered is None or f"{package}.".startswith(f"{entered}."):
            continue
        if name.removeprefix(entered).split(".")[1:2] not in [[door] for door in doors]:
            found.append(name)
    return found


@each(ENTERING)
def test_other_slices_are_entered_by_service_and_events(path: Path) -> None:
    package = ".".join(path.parent.relative_to(ROOT / "control-plane").parts)
    doors = {"service", "events"} | ({"schema"} if path.stem == "api" else set())
    assert not trespasses(tree_of(path), package, doors, SLICES)


@pytest.mark.parametrize(
    ("line", "free"),
    [
        ("from top.b import service", True),
        ("from top.b import service as b", True),
        ("from top.b.service import show", True),
        ("from top.b.events import Made", True),
        ("import top.b.service", True),
        ("from top.a import queries", True),
        ("from top.base import anything", True),
        ("from top.b import queries", False),
        ("from top.b.queries import get", False),
        ("import top.b.queries as q", False),
        ("import top.b", False),
        ("from top import b", False),
        ("from ..b import model", False),
        ("from ..b.model import Thing", False),
        ("def f():\n    from top.b import tables", False),
        ("from top.a.inner import queries", False),
        ("from top.a.inner import service", True),
    ],
)
def test_the_search_for_trespasses(line: str, *, free: bool) -> None:
    slices = {"top.a", "top.b", "top.a.inner"}
    found = trespasses(ast.parse(line), "top.a", {"service", "events"}, slices)
    assert bool(found) != free


def test_every_slice_has_its_inner_layers_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    inside = next(one for one in contracts["contracts"] if one["name"] == "inside a slice")
    assert set(inside["containers"]) == SLICES


# --- sizes and words ------------------------------------------------------------------------------


@each([*WRITTEN, *TESTS])
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@each(WRITTEN)
def test_functions_stay_small(path: Path) -> None:
    assert not [
        f"{node.name} (line {node.lineno})"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]


@each([*WRITTEN, *TESTS])
def test_modules_say_what_they_are(path: Path) -> None:
    tree = tree_of(path)
    assert not tree.body or ast.get_docstring(tree)


@each([path for path in WRITTEN if path.stem in {"service", "api"}])
def test_use_cases_and_routes_say_what_they_do(path: Path) -> None:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert not [
        node.name
        for node in tree_of(path).body
        if isinstance(node, functions)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]


@each([*OURS, *TESTS])
def test_nothing_is_left_to_do_in_a_comment(path: Path) -> None:
    assert not re.findall(r"#.*\b(?:TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b.*", path.read_text())


# --- errors and environment -----------------------------------------------------------------------


def catches_all(handler: ast.ExceptHandler) -> bool:
    """Whether a handler takes every error and does not raise it again at its end."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(
        kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in kinds
    )
    last = handler.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


@each([path for path in WRITTEN if path not in CATCH_ALL])
def test_unknown_errors_are_caught_in_few_places(path: Path) -> None:
    assert not [
        f"line {node.lineno}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and catches_all(node)
    ]


def environment_of(tree: ast.Module) -> list[str]:
    """Where a module touches the environment of the process."""
    words = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    return [
        f"line {node.lineno}"
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.Attribute)
            and node.attr in words
            and ast.unparse(node.value) == "os"
        )
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and words & {alias.name for alias in node.names}
        )
    ]


@each([path for path in WRITTEN if path not in READS_ENVIRONMENT])
def test_the_environment_is_read_in_few_places(path: Path) -> None:
    assert not environment_of(tree_of(path))
