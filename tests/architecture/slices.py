"""What the folders of the control plane are, and what each kind of file may import.

The rules name what is allowed. A new slice or file is under them at once, and a file of no known
kind is taken for a pure one, which may import next to nothing.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
HOME = ROOT / "control-plane"
TOP = "terrapod_control_plane"

# What is no slice: the folders that slices stand on, and those that put slices together.
BELOW = {"kernel", "web", "migrations"}
ABOVE = {"cli", "backup"}

PURE = "pure"
_MODELS = frozenset({"model", "actions", PURE})
_MOVES = _MODELS | {"lifecycle", "events"}
_USES = _MOVES | {"internal", "queries"}
# What a file of a kind may import of its own slice; `pure` is every kind that is not named here.
WITHIN: Mapping[str, frozenset[str]] = {
    "slice": frozenset({"api", "jobs", "views", "internal", "schema"}) | _MOVES,
    "api": frozenset({"service", "views", "schema"}) | _MODELS,
    "views": frozenset({"internal", "schema", "lifecycle", "views"}) | _MODELS,
    "jobs": _USES,
    "service": _USES,
    "internal": _USES,
    "queries": _MODELS | {"tables", "queries", "visibility"},  # queries of a folder above
    "schema": _MODELS | {"schema"},
    "events": _MODELS | {"events"},
    "lifecycle": _MODELS,
    "model": _MODELS,
    "tables": frozenset(),
    "actions": frozenset(),
    "visibility": _MODELS,
    PURE: _MODELS,
}
# The same of the slices before its own.
_OF_OTHERS = frozenset({"internal", "events"}) | _MODELS - {PURE}
ACROSS: Mapping[str, frozenset[str]] = {
    "slice": frozenset({"events"}),
    "api": frozenset({"service", "views", "schema", "model"}),
    "views": frozenset({"internal", "views", "schema", "model", "actions"}),
    "jobs": _OF_OTHERS,
    "service": _OF_OTHERS | {"service"},
    "internal": _OF_OTHERS,
    "schema": frozenset({"model"}),
    "events": frozenset({"model"}),
    "lifecycle": frozenset({"model"}),
    "model": frozenset({"model", "actions"}),
    "queries": frozenset({"model", "visibility"}),  # lists of what belongs to what may be seen
    PURE: frozenset({"model", "actions"}),
}
SQL = {"queries", "tables"}  # may import piccolo
TRANSACTIONS = {"queries", "tables", "service", "internal", "jobs"}  # may import these:
DATABASE = {
    f"kernel.{name}"
    for name in ("db", "engine", "repository", "statements", "transactions", "unit_of_work")
}
HTTP = {"api"}  # may import litestar and terrapod_control_plane.web


class Module(NamedTuple):
    """A file of the control plane."""

    path: Path
    name: str  # dotted, below the package
    folder: str  # dotted, below the package; empty for the top
    slice: str  # the slice that it belongs to; empty when to none
    kind: str

    @property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.path.read_text())


def modules(home: Path = HOME) -> dict[str, Module]:
    """Every file of the control plane, by its dotted name."""
    top = home / TOP
    found = {}
    for path in sorted(top.rglob("*.py")):
        parts = path.relative_to(top).with_suffix("").parts
        folder, stem = ".".join(parts[:-1]), parts[-1]
        name = folder if stem == "__init__" else ".".join(parts)
        in_slice = folder and parts[0] not in BELOW | ABOVE
        kind = stem if stem in WITHIN or stem == "__init__" else PURE
        found[name] = Module(path, name, folder, parts[0] if in_slice else "", kind)
    return found


def imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Everything that a module of ``package`` imports, anywhere in it, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            home = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield from (f"{home}.{alias.name}" for alias in node.names)


def targets(module: Module, known: Mapping[str, Module]) -> Iterator[tuple[str, Module | None]]:
    """What a module imports: the full name, and which of our modules that is, if one."""
    for name in imported(module.tree, f"{TOP}.{module.folder}".rstrip(".")):
        below = name.removeprefix(f"{TOP}.") if name.startswith(f"{TOP}.") else ""
        yield name, known.get(below) or known.get(below.rpartition(".")[0]) if below else None


def trespasses(known: Mapping[str, Module], order: tuple[str, ...]) -> list[str]:
    """Imports that the rules do not allow, as sentences."""
    return [
        f"{module.name} ({module.kind}) imports {name}: {why}"
        for module in known.values()
        if module.slice
        for name, target in targets(module, known)
        if (why := _refused(module, name, target, order))
    ]


def _refused(module: Module, name: str, target: Module | None, order: tuple[str, ...]) -> str:
    kind = module.kind
    if target is None:
        return _foreign(kind, name)
    if not target.slice:
        return _ground(kind, target)
    if target.slice != module.slice:
        if order.index(target.slice) >= order.index(module.slice):
            return "it comes later in the order of slices"
        return "" if target.kind in ACROSS.get(kind, ()) else f"{target.kind} of another slice"
    if target.kind == "queries" and not f"{module.folder}.".startswith(f"{target.folder}."):
        return "queries of a folder beside it"
    return "" if target.kind in WITHIN.get(kind, ()) or kind == "__init__" else "not its kind"


def _foreign(kind: str, name: str) -> str:
    library = name.partition(".")[0]
    if library == "litestar" and kind not in HTTP:
        return "HTTP stays in api"
    if library in {"piccolo", "asyncpg"} and kind not in SQL:
        return "SQL stays in queries and tables"
    return "" if library != "terrapod_agent" else "the agent is another distribution"


def _ground(kind: str, target: Module) -> str:
    part = target.name.partition(".")[0]
    if part == "web":
        return "" if kind in HTTP else "HTTP stays in api"
    if part not in {"kernel", "settings"}:
        return "it is above the slices"
    return (
        ""
        if target.name not in DATABASE or kind in TRANSACTIONS
        else "transactions stay in use cases"
    )


def cycle(known: Mapping[str, Module]) -> list[str]:
    """Modules that import each other in a circle, if any do."""
    edges = {
        module.name: {
            target.name for _, target in targets(module, known) if target and target != module
        }
        for module in known.values()
    }
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        path.append(name)
        for following in sorted(edges.get(name, ())):
            if found := visit(following):
                return found
        path.pop()
        done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := visit(name))), [])
