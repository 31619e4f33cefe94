"""The files that rules are held against, and one way to tell which of them break one."""

import ast
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTROL = ROOT / "control-plane" / "terrapod_control_plane"
AGENT = ROOT / "agent" / "terrapod_agent"
COMMON = ROOT / "common" / "terrapod_common"
OURS = sorted(path for home in (CONTROL, AGENT, COMMON) for path in home.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    """A file by its path in the repository, as an editor opens it."""
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file; many rules read the same one, and none may change it."""
    return ast.parse(path.read_text())


def hold(
    paths: Sequence[Path], search: Callable[[ast.Module], Iterable[str]], but: Iterable[Path] = ()
) -> None:
    """One rule against all files but some: fails with a line for everything that is found."""
    exempt = set(but)
    gone = [name_of(path) for path in exempt if path not in paths]
    assert not gone, f"exempt, but not there: {gone}"
    hold_paths([path for path in paths if path not in exempt], lambda path: search(tree_of(path)))


def hold_paths(paths: Sequence[Path], search: Callable[[Path], Iterable[str]]) -> None:
    """The same for a rule that needs more of a file than its syntax tree."""
    assert paths, "a rule that looks at no file holds nothing"
    offenders = [f"{name_of(path)}: {found}" for path in paths for found in search(path)]
    assert not offenders, "\n" + "\n".join(offenders)
