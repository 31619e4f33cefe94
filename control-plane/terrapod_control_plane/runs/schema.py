"""JSON:API shapes of runs, plans, applies."""

from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import UNSET, Struct, UnsetType, field

from terrapod_control_plane.kernel.jsonapi import Payload, Resource
from terrapod_control_plane.kernel.relations import many, one
from terrapod_control_plane.runs.model import RunVariable


class RunVariableDoc(Struct, kw_only=True):
    """A variable that was given for one run; without its value where that may not be seen."""

    key: str
    value: str
    sensitive: bool


class RunDoc(Resource, tag="runs", kw_only=True):
    """A run."""

    at: ClassVar[str] = "/api/v2/runs/{id}"
    status: str
    message: str
    source: str
    trigger_reason: str
    terraform_version: str
    auto_apply: bool
    allow_empty_apply: bool
    allow_config_generation: bool
    has_changes: bool | None
    is_destroy: bool
    plan_only: bool
    refresh: bool
    refresh_only: bool
    save_plan: bool
    target_addrs: list[str]
    replace_addrs: list[str]
    created_at: datetime
    canceled_at: datetime | None
    force_cancel_available_at: datetime | None
    status_timestamps: dict[str, datetime]
    is_drift_detection: bool = False
    variables: list[RunVariableDoc] = []
    position_in_queue: int = 0
    policy_paths: list[str] = []
    invoke_action_addrs: list[str] = []
    actions: dict[str, bool] = {}
    permissions: dict[str, bool] = {}
    waiting_on: str | None = None
    reason: str | None = None
    workspace: Annotated[str, one("workspaces")]
    configuration_version: Annotated[str | None, one("configuration-versions")]
    plan: Annotated[str, one("plans")]
    apply: Annotated[str, one("applies")]
    created_by: Annotated[str | None, one("users")]
    confirmed_by: Annotated[str | None, one("users")]
    policy_checks: Annotated[list[str], many("policy-checks")] = []
    task_stages: Annotated[list[str], many("task-stages")] = []
    run_events: Annotated[list[str], many("run-events")] = []
    comments: Annotated[list[str], many("comments")] = []


class PhaseDoc(Resource, kw_only=True):
    """What plans and applies have in common."""

    status: str
    log_read_url: str
    resource_additions: int
    resource_changes: int
    resource_destructions: int
    resource_imports: int
    status_timestamps: dict[str, datetime]


class PlanDoc(PhaseDoc, tag="plans", kw_only=True):
    """A plan."""

    at: ClassVar[str] = "/api/v2/plans/{id}"
    has_changes: bool = False
    generated_configuration: bool = False


class ApplyDoc(PhaseDoc, tag="applies", kw_only=True):
    """An apply."""

    at: ClassVar[str] = "/api/v2/applies/{id}"


class CapacityDoc(Resource, tag="organization-capacity", kw_only=True):
    """How many runs wait and how many go on."""

    pending: int
    running: int


class EventDoc(Resource, tag="run-events", kw_only=True):
    """Something that happened to a run and that the CLI should tell."""

    action: str
    description: str
    created_at: datetime


class StageDoc(Resource, tag="task-stages", kw_only=True):
    """A stage of run tasks."""

    stage: str
    status: str


class RunCreate(Payload, tag="runs", kw_only=True):
    """A run to be made."""

    message: str | None = None
    auto_apply: bool | None = None
    is_destroy: bool | None = None
    plan_only: bool | None = None
    save_plan: bool | None = None
    refresh: bool | None = None
    refresh_only: bool | None = None
    allow_empty_apply: bool | None = None
    allow_config_generation: bool | None = None
    terraform_version: str | None = None
    target_addrs: list[str] | None = None
    replace_addrs: list[str] | None = None
    invoke_action_addrs: list[str] | None = None
    variables: list[RunVariable] | None = None
    workspace: Annotated[str, one("workspaces")]
    configuration_version: Annotated[str | UnsetType | None, one("configuration-versions")] = UNSET


class Comment(Payload, frozen=True, kw_only=True):  # type: ignore[misc]
    """The body of an action: a comment or nothing."""

    bare: ClassVar[bool] = True
    comment: str | None = field(default=None)


# Litestar gives an empty body no chance to be decoded.
NO_COMMENT = Comment()
