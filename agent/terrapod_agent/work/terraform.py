"""Command lines of terraform and what its answers mean; nothing here starts anything."""

import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from terrapod_agent.work.plan_file import SavedPlan
from terrapod_common import wire

NO_CHANGES, CHANGES = 0, 2  # exit codes of a plan with -detailed-exitcode

_NAMES = {"terraform": "Terraform", "tofu": "OpenTofu"}
_EPHEMERAL, _EPHEMERAL_TOFU = (1, 10), (1, 11)


class Counts(Struct, frozen=True):
    """How many resources a plan or an apply touches."""

    additions: int = 0
    changes: int = 0
    destructions: int = 0
    imports: int = 0


class _Change(Struct):
    actions: list[str] = []
    importing: Any = None


class _Resource(Struct):
    change: _Change = msgspec.field(default_factory=_Change)
    mode: str = "managed"


class _Plan(Struct):
    resource_changes: list[_Resource] = []


class _Declared(Struct):
    sensitive: bool = False
    ephemeral: bool = False


class _Root(Struct):
    variables: dict[str, _Declared] = {}


class _Configuration(Struct):
    root_module: _Root = msgspec.field(default_factory=_Root)


class _Configured(Struct):
    configuration: _Configuration = msgspec.field(default_factory=_Configuration)


def header(tool: wire.Tool, platform: str) -> str:
    """The three lines that open every log; clients throw away those of an apply."""
    first = f"{_NAMES[tool.name]} v{tool.version}"
    return f"{first}\non {platform}\nInitializing plugins and modules..."


def init(binary: Path, states: str, *, locked: bool) -> tuple[str, ...]:
    """``init``, with states below ``states``; with a plan's lock file it must not choose anew."""
    return (
        *(str(binary), "init", "-input=false"),
        f"-backend-config=path={states}/terraform.tfstate",
        f"-backend-config=workspace_dir={states}/workspaces",
        *(["-lockfile=readonly"] if locked else []),
    )


def plan(binary: Path, flags: wire.Flags, values: Path, out: Path) -> tuple[str, ...]:
    """``plan`` into a file."""
    argv = [str(binary), "plan", "-input=false", f"-out={out}", "-detailed-exitcode"]
    argv += [f"-var-file={values}"]
    argv += ["-destroy"] if flags.destroy else []
    argv += ["-refresh-only"] if flags.refresh_only else []
    argv += [] if flags.refresh else ["-refresh=false"]
    argv += [f"-target={address}" for address in flags.targets]
    argv += [f"-replace={address}" for address in flags.replaces]
    argv += [f"-invoke={address}" for address in flags.invokes]
    argv += ["-generate-config-out=generated.tf"] if flags.allow_config_generation else []
    return tuple(argv)


def show(binary: Path, planned: Path) -> tuple[str, ...]:
    """``show`` of a plan file as JSON."""
    return (str(binary), "show", "-json", str(planned))


def apply(binary: Path, planned: Path, values: Path | None = None) -> tuple[str, ...]:
    """``apply`` of exactly one plan file; ``values`` again where it has ephemeral ones."""
    given = [] if values is None else [f"-var-file={values}"]
    return (str(binary), "apply", "-input=false", *given, str(planned))


def apply_needs_values(tool: wire.Tool, plan: SavedPlan | None) -> bool:
    """Whether the apply of a saved plan needs values again, as it does those that are ephemeral."""
    if tool.name == "terraform" and plan is not None:
        return plan.needs_values  # earlier ones have no such values, and refuse the option
    return version(tool) >= (_EPHEMERAL if tool.name == "terraform" else _EPHEMERAL_TOFU)


def version(tool: wire.Tool) -> tuple[int, ...]:
    """The numbers of a tool's version; a later stage, such as a release candidate, is ignored."""
    numbers = re.findall(r"\d+", tool.version.partition("-")[0])
    return tuple(map(int, numbers[:3]))


def planned_counts(document: bytes) -> Counts:
    """What a plan would do; a replacement is an addition and a destruction."""
    resources = msgspec.json.decode(document, type=_Plan).resource_changes
    changes = [resource.change for resource in resources if resource.mode == "managed"]
    actions = [action for change in changes for action in change.actions]
    return Counts(
        additions=actions.count("create"),
        changes=actions.count("update"),
        destructions=actions.count("delete"),
        imports=sum(change.importing is not None for change in changes),
    )


def plain_variables(document: bytes) -> set[str]:
    """The variables that the configuration of a plan declares and does not keep from being seen."""
    declared = msgspec.json.decode(document, type=_Configured).configuration.root_module.variables
    return {name for name, one in declared.items() if not (one.sensitive or one.ephemeral)}
