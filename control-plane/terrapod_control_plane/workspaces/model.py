"""Workspaces: what is set on them, what is known of them, who may do what with one."""

import functools
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from terrapod_control_plane.kernel.policy import (
    Action,
    Actor,
    Level,
    Scope,
    Verdict,
    Where,
    at_level,
    level,
)
from terrapod_control_plane.workspaces.actions import (
    RUN_APPLY,
    RUN_PLAN,
    STATE_READ,
    STATE_WRITE,
    VARIABLE_READ,
    VARIABLE_WRITE,
    WORKSPACE_DELETE,
    WORKSPACE_FORCE_UNLOCK,
    WORKSPACE_LOCK,
    WORKSPACE_READ,
    WORKSPACE_UNLOCK,
    WORKSPACE_UPDATE,
)

ExecutionMode = Literal["remote", "agent", "local"]
ToolName = Literal["terraform", "tofu"]

LATEST = "latest"
DAY = 86400


class Hold(Struct, frozen=True, kw_only=True):
    """Why no run may be applied until a person has looked: an apply ended in the unknown."""

    run: str
    reason: str
    since: datetime


class Tag(Struct, frozen=True):
    """A key with a value; a tag of the old kind has none."""

    key: str
    value: str = ""


_SIZE = re.compile(r"(?P<number>[0-9]{1,12}(\.[0-9]{1,6})?)(?P<unit>([kKMGT]i?)?)")
_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"ki": 2**10, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


class Setup(Struct, frozen=True, kw_only=True):
    """What people set on a workspace, with what it is unless they do."""

    name: str
    description: str = ""
    execution_mode: ExecutionMode = "remote"
    agent_pool_id: str | None = None
    tool: ToolName = "terraform"
    terraform_version: str = LATEST
    working_directory: str = ""
    auto_apply: bool = False
    allow_destroy_plan: bool = True
    queue_all_runs: bool = False
    speculative_enabled: bool = True
    file_triggers_enabled: bool = True
    global_remote_state: bool = False
    project_remote_state: bool = False
    source: str = "tfe-api"
    source_name: str = ""
    source_url: str = ""
    trigger_prefixes: list[str] = []
    trigger_patterns: list[str] = []
    labels: dict[str, str] = {}
    tag_bindings: dict[str, str] = {}
    resource_cpu: str = ""
    resource_memory: str = ""
    vcs_repo_url: str = ""
    vcs_branch: str = ""
    drift_detection_enabled: bool = False
    drift_detection_interval_seconds: int = DAY

    @property
    def memory_bytes(self) -> int:
        """``resource_memory`` in bytes; 0 when there is no limit."""
        found = _SIZE.fullmatch(self.resource_memory)
        return int(Decimal(found["number"]) * _UNITS[found["unit"]]) if found else 0


class SetupChange(Struct, frozen=True, kw_only=True):
    """What somebody wants to be set up otherwise."""

    apply: Callable[[Setup], Setup]
    new_tags: list[Tag]
    only_version: bool  # and nothing else


class Workspace(Setup, frozen=True, kw_only=True):
    """A workspace, with the facts that runs and states tell of themselves."""

    id: str
    owner_id: str
    created_at: datetime
    updated_at: datetime
    locked_by: str | None = None
    lock_reason: str = ""
    locked_at: datetime | None = None
    current_run_id: str | None = None
    held_by_run_id: str | None = None
    hold_run_id: str | None = None
    hold_reason: str = ""
    hold_since: datetime | None = None
    hold_ended_at: datetime | None = None  # the last one
    current_state_version_id: str | None = None
    current_configuration_version_id: str | None = None
    resource_count: int = 0
    runs_count: int = 0

    @property
    def scope(self) -> Scope:
        """What permission is asked on."""
        return Scope(
            where=Where.WORKSPACE,
            id=self.id,
            name=self.name,
            owner=self.owner_id,
            labels=self.labels,
        )

    @property
    def holder(self) -> str | None:
        """The person or the run that has it for itself."""
        return self.locked_by or self.held_by_run_id

    @property
    def locked(self) -> bool:
        """Whether somebody has it for itself."""
        return self.holder is not None

    @property
    def operations(self) -> bool:
        """Whether runs happen here; the old word for the execution mode."""
        return self.execution_mode != "local"

    @property
    def hold(self) -> Hold | None:
        """Why nothing may be applied, if so."""
        if self.hold_run_id is None or self.hold_since is None:
            return None
        return Hold(run=self.hold_run_id, reason=self.hold_reason, since=self.hold_since)

    @property
    def tags(self) -> list[Tag]:
        """All tags, in the order of their keys."""
        return [Tag(key, value) for key, value in sorted(self.tag_bindings.items())]

    @property
    def tag_names(self) -> list[str]:
        """The tags of the old kind, which have no value."""
        return [tag.key for tag in self.tags if not tag.value]


class Wanted(Struct, frozen=True, kw_only=True):
    """What a list of workspaces is narrowed to."""

    name: str = ""  # a part of it
    wildcard: str = ""  # the whole of it, a star for any text
    tags: list[str] = []  # keys, all of them
    without_tags: list[str] = []  # keys, none of them
    tagged: list[Tag] = []  # all of them
    descending: bool = False


class Permissions(Struct, frozen=True, kw_only=True, rename="kebab"):
    """What the caller may do with a workspace, in the words of clients."""

    can_update: bool
    can_destroy: bool
    can_force_delete: bool
    can_queue_run: bool
    can_queue_apply: bool
    can_queue_destroy: bool
    can_read_settings: bool
    can_read_state_versions: bool
    can_read_state_outputs: bool
    can_create_state_versions: bool
    can_read_variable: bool
    can_update_variable: bool
    can_lock: bool
    can_unlock: bool
    can_force_unlock: bool
    can_manage_tags: bool
    can_manage_run_tasks: bool = False


_ASKED: Mapping[str, Action] = {
    "can_update": WORKSPACE_UPDATE,
    "can_destroy": WORKSPACE_DELETE,
    "can_force_delete": WORKSPACE_DELETE,
    "can_queue_run": RUN_PLAN,
    "can_queue_apply": RUN_APPLY,
    "can_queue_destroy": RUN_APPLY,
    "can_read_settings": WORKSPACE_READ,
    "can_read_state_versions": STATE_READ,
    "can_read_state_outputs": STATE_READ,
    "can_create_state_versions": STATE_WRITE,
    "can_read_variable": VARIABLE_READ,
    "can_update_variable": VARIABLE_WRITE,
    "can_lock": WORKSPACE_LOCK,
    "can_unlock": WORKSPACE_UNLOCK,
    "can_force_unlock": WORKSPACE_FORCE_UNLOCK,
    "can_manage_tags": WORKSPACE_UPDATE,
}


def permissions(actor: Actor, scope: Scope) -> Permissions:
    """Decided by the same rules as the requests themselves."""
    return _permissions(level(actor, scope))


@functools.cache
def _permissions(has: Level) -> Permissions:
    verdicts = {name: at_level(has, action.need) for name, action in _ASKED.items()}
    return Permissions(**{name: v is Verdict.ALLOWED for name, v in verdicts.items()})
