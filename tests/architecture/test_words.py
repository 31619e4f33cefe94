"""Rules about sizes, words, errors and the environment that no linter knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import AGENT, COMMON, CONTROL, OURS, TESTS, hold, hold_paths

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


# --- sizes and words ------------------------------------------------------------------------------


def too_long(path: Path) -> Iterator[str]:
    """How long a file is that is too long."""
    if (lines := len(path.read_text().splitlines())) > LONGEST_FILE:
        yield f"{lines} lines"


def test_files_stay_small() -> None:
    hold_paths([*OURS, *TESTS], too_long)


def long_functions(tree: ast.Module) -> Iterator[str]:
    """Functions that are too long, those inside of others too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{node.name} (line {node.lineno}) has {lines} lines"


def test_functions_stay_small() -> None:
    hold(OURS, long_functions)


def without_docstring(tree: ast.Module) -> Iterator[str]:
    """Whether a module that holds anything does not say what it is."""
    if tree.body and not ast.get_docstring(tree):
        yield "no docstring"


def test_modules_say_what_they_are() -> None:
    hold([*OURS, *TESTS], without_docstring)


def silent_functions(tree: ast.Module) -> Iterator[str]:
    """Public functions of a module that do not say what they do."""
    for node in tree.body:
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ):
            yield f"{node.name} (line {node.lineno})"


def test_use_cases_and_routes_say_what_they_do() -> None:
    hold([path for path in OURS if path.stem in {"service", "api"}], silent_functions)


def left_to_do(text: str) -> list[str]:
    """Comments that put work off."""
    return re.findall(r"#.*\b(?:TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b.*", text)


def test_nothing_is_left_to_do_in_a_comment() -> None:
    hold_paths([*OURS, *TESTS], lambda path: left_to_do(path.read_text()))


def watched_in_secret(tree: ast.Module) -> list[str]:
    """Loops that wait for a private member of something else."""
    return [
        f"line {loop.lineno} waits for {ast.unparse(part)}"
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While)
        for part in ast.walk(loop.test)
        if isinstance(part, ast.Attribute)
        and part.attr.startswith("_")
        and ast.unparse(part.value) != "self"
    ]


def test_tests_wait_for_nothing_private() -> None:
    hold(TESTS, watched_in_secret)
    loops = "while x not in a.b._c: pass\nwhile self._d and a._e(): pass"
    found = watched_in_secret(ast.parse(loops))
    assert found == ["line 1 waits for a.b._c", "line 2 waits for a._e"]


def test_the_searches_for_sizes_and_words(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text("\n" * LONGEST_FILE)
    assert not list(too_long(file))
    file.write_text("\n" * (LONGEST_FILE + 1))
    assert list(too_long(file)) == ["301 lines"]
    body = "    pass\n" * (LONGEST_FUNCTION - 1)
    assert not list(long_functions(ast.parse(f"def f():\n{body}")))
    found = list(long_functions(ast.parse(f"class C:\n async def f():\n{body}    pass\n")))
    assert found == ["f (line 2) has 41 lines"]
    assert list(without_docstring(ast.parse("x = 1"))) == ["no docstring"]
    assert not list(without_docstring(ast.parse("'What it is.'\nx = 1")))
    assert not list(without_docstring(ast.parse("")))
    functions = "def a(): 1\nasync def b(): 1\ndef _c(): 1\ndef d(): 'What it does.'"
    assert list(silent_functions(ast.parse(functions))) == ["a (line 1)", "b (line 2)"]
    word = "TO" + "DO"
    assert left_to_do(f"x = 1  # {word} later\n# {word}S\n") == [f"# {word} later"]


# --- errors and environment -----------------------------------------------------------------------


def catches_all(handler: ast.ExceptHandler) -> bool:
    """Whether a handler takes every error and does not raise it again at its end."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(
        kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in kinds
    )
    last = handler.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def broad_handlers(tree: ast.Module) -> list[str]:
    """Where a module takes every error."""
    return [
        f"line {node.lineno} catches all"
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and catches_all(node)
    ]


def test_unknown_errors_are_caught_in_few_places() -> None:
    hold(OURS, broad_handlers, but=CATCH_ALL)


@pytest.mark.parametrize(
    ("handler", "free"),
    [
        ("except: pass", False),
        ("except Exception: pass", False),
        ("except BaseException as error: print(error)", False),
        ("except (OSError, Exception): pass", False),
        ("except Exception as error: raise Other from error", False),
        ("except Exception: print(1); raise", True),
        ("except OSError: pass", True),
        ("except (OSError, ValueError): pass", True),
    ],
)
def test_the_search_for_broad_handlers(handler: str, *, free: bool) -> None:
    found = broad_handlers(ast.parse(f"try: pass\n{handler}"))
    assert found == ([] if free else ["line 2 catches all"])


def environment_of(tree: ast.Module) -> list[str]:
    """Where a module touches the environment of the process."""
    words = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    return [
        f"line {node.lineno} touches the environment"
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


def test_the_environment_is_read_in_few_places() -> None:
    hold(OURS, environment_of, but=READS_ENVIRONMENT)


@pytest.mark.parametrize(
    ("line", "free"),
    [
        ("os.environ['X']", False),
        ("os.getenv('X')", False),
        ("from os import path, environ", False),
        ("self.environ", True),
        ("from os import path", True),
    ],
)
def test_the_search_for_the_environment(line: str, *, free: bool) -> None:
    assert bool(environment_of(ast.parse(line))) != free
