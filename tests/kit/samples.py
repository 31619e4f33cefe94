"""What tests of all slices need to know of each, told by `tests/control/<slice>/samples.py`.

A slice that is added brings such a file, with a `SAMPLES` in it; no list has to be touched.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path

from msgspec import Struct

from terrapod_control_plane.kernel.policy import Action, Verdict
from tests.kit.bodies import BODIES, Body
from tests.kit.control import Client

_HOME = Path(__file__).parents[1] / "control"
# Where a slice says it, for those whom a test tells that something is missing.
AT = "SAMPLES in tests/control/<slice>/samples.py"

# Makes something as the owner of a workspace, among the ids that are known; its own id.
Make = Callable[[Client, Mapping[str, str]], Awaitable[str]]


class Samples(Struct, frozen=True, kw_only=True):
    """Of a slice: a valid body for each route that takes one, real ids, who may do what."""

    bodies: Mapping[tuple[str, str], Body] = {}
    in_workspace: Mapping[str, Make] = {}  # the name of a path's parameter -> what it stands for
    permissions: Mapping[Action, Mapping[str, Verdict]] = {}
    grown: Mapping[str, Mapping[str, str]] = {}  # a table that grows -> columns -> SQL of `n`


@cache
def told() -> tuple[Samples, ...]:
    """The samples of all slices that have a file of them."""
    names = sorted(path.parent.name for path in _HOME.glob("*/samples.py"))
    return tuple(import_module(f"tests.control.{name}.samples").SAMPLES for name in names)


@cache
def bodies() -> Mapping[tuple[str, str], Body]:
    """A valid body for every route that takes one."""
    return {**BODIES, **{key: body for one in told() for key, body in one.bodies.items()}}


@cache
def in_workspace() -> Mapping[str, Make]:
    """The parameters of paths that stand for something of a workspace."""
    return {name: make for one in told() for name, make in one.in_workspace.items()}


def grown() -> Mapping[str, Mapping[str, str]]:
    """The tables that grow, and how their rows look after a while."""
    return {table: shape for one in told() for table, shape in one.grown.items()}


def permissions() -> Mapping[Action, Mapping[str, Verdict]]:
    """Who may do what, by the actions of the slices."""
    return {action: row for one in told() for action, row in one.permissions.items()}
