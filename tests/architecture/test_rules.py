"""Rules that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTROL = ROOT / "control-plane" / "terrapod_control_plane"
AGENT = ROOT / "agent" / "terrapod_agent"
COMMON = ROOT / "common" / "terrapod_common"
OURS = sorted(path for home in (CONTROL, AGENT, COMMON) for path in home.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LONGEST_FILE = 300
LONGEST_FUNCTION = 40

# Where an unknown error ends: a loop goes on, a request is answered, a run is errored.
CATCH_ALL = {
    COMMON / "loops.py",
    CONTROL / "kernel" / "consumers.py",  # an event is tried again
    CONTROL / "web" / "errors.py",
    AGENT / "error_capture.py",  # and a phase that has ended is reported
    AGENT / "work" / "phase.py",
}
READS_ENVIRONMENT = {
    CONTROL / "cli" / "settings.py",
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


# --- sizes and words ------------------------------------------------------------------------------


@each([*OURS, *TESTS])
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@each(OURS)
def test_functions_stay_small(path: Path) -> None:
    assert not [
        f"{node.name} (line {node.lineno})"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]


@each([*OURS, *TESTS])
def test_modules_say_what_they_are(path: Path) -> None:
    tree = tree_of(path)
    assert not tree.body or ast.get_docstring(tree)


@each([path for path in OURS if path.stem in {"service", "api"}])
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


@each([path for path in OURS if path not in CATCH_ALL])
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


@each([path for path in OURS if path not in READS_ENVIRONMENT])
def test_the_environment_is_read_in_few_places(path: Path) -> None:
    assert not environment_of(tree_of(path))
