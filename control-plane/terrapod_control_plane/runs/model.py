"""Runs and their phases."""

import enum
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from terrapod_common.wire import PhaseKind


class Status(enum.Enum):
    """Where a run stands."""

    PENDING = "pending"
    PLAN_QUEUED = "plan_queued"
    PLANNING = "planning"
    PLANNED = "planned"
    PLANNED_AND_SAVED = "planned_and_saved"
    PLANNED_AND_FINISHED = "planned_and_finished"
    CONFIRMED = "confirmed"
    APPLY_QUEUED = "apply_queued"
    APPLYING = "applying"
    APPLIED = "applied"
    DISCARDED = "discarded"
    ERRORED = "errored"
    CANCELED = "canceled"


FINAL = frozenset(
    {
        Status.PLANNED_AND_FINISHED,
        Status.APPLIED,
        Status.DISCARDED,
        Status.ERRORED,
        Status.CANCELED,
    }
)

PhaseStatus = Literal[
    "pending", "queued", "running", "finished", "errored", "canceled", "unreachable"
]
ENDED: frozenset[PhaseStatus] = frozenset({"finished", "errored", "canceled", "unreachable"})


class RunVariable(Struct, frozen=True):
    """A variable given for one run; the value is an HCL literal."""

    key: Annotated[str, Meta(pattern=r"^[^\W\d][\w-]*\Z")]
    value: str


class Run(Struct, frozen=True, kw_only=True):
    """One pass of a configuration over a workspace."""

    id: str
    workspace_id: str
    configuration_version_id: str | None
    pool_id: str | None
    plan_id: str
    apply_id: str
    status: Status
    status_timestamps: dict[str, datetime]
    is_current: bool
    message: str
    source: str
    trigger_reason: str
    terraform_version: str
    tool: Literal["terraform", "tofu"]
    workspace_name: str  # as it was when the run was made: plan and apply must see the same
    working_directory: str
    is_destroy: bool
    auto_apply: bool
    plan_only: bool
    save_plan: bool
    refresh: bool
    refresh_only: bool
    allow_empty_apply: bool
    allow_config_generation: bool
    target_addrs: list[str]
    replace_addrs: list[str]
    invoke_action_addrs: list[str] = []
    variables: bytes | None  # sealed
    plain_variables: list[str] | None = None  # that anybody may see, as the plan found out
    has_changes: bool | None = None
    created_by: str | None
    confirmed_by: str | None = None
    created_at: datetime
    changed_at: datetime
    canceled_at: datetime | None = None
    force_cancel_available_at: datetime | None = None
    state_version_id: str | None = None  # the state that was planned against
    reason: str = ""  # why it errored or was discarded
    shown_at: datetime | None = None  # its end is not shown before
    number: int = 0  # the order of creation, given by the database

    @property
    def final(self) -> bool:
        """Whether nothing more can happen to it."""
        return self.status in FINAL

    @property
    def queues(self) -> bool:
        """Whether it waits for its turn and then takes the workspace."""
        return not self.plan_only and not self.save_plan


class Phase(Struct, frozen=True, kw_only=True):
    """The plan or the apply of a run, as an agent gets it."""

    id: str
    run_id: str
    workspace_id: str
    kind: PhaseKind
    pool_id: str | None
    status: PhaseStatus = "pending"
    status_timestamps: dict[str, datetime] = {}
    queued_at: datetime | None = None
    rank: datetime | None = None
    listener_id: str | None = None
    slot: int | None = None
    claim_key: str | None = None
    fence: int = 0
    claims: int = 0
    lease_until: datetime | None = None
    claimed_at: datetime | None = None
    start_confirmed: bool = False
    order_kind: Literal["cancel", "force_cancel"] | None = None
    ordered_at: datetime | None = None
    has_changes: bool | None = None
    additions: int | None = None
    changes: int | None = None
    destructions: int | None = None
    imports: int | None = None
    artifacts: dict[str, "Artifact"] = {}
    variables: bytes | None = None  # sealed: of category terraform, as the plan got them
    log_size: int = 0
    log_base: int = 0
    log_complete: bool = False
    log_index: list[tuple[int, int, int]] | None = None
    log_at: datetime | None = None
    hold_cause: str = ""  # why it put its workspace on hold
    lost_fence: int | None = None  # under which its agent was given up after the start
    late_from: int = 0  # how much of the agent's log had arrived by then
    late_size: int = 0  # and how much came after that
    late_at: datetime | None = None  # when the agent had said everything
    shown_at: datetime | None = None  # of its run, where that was asked for too
    root: str | None = None  # where the runs of the agent work that claimed it last

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.status in ENDED

    @property
    def held(self) -> bool:
        """Whether an agent has it."""
        return self.lease_until is not None


# Further ahead it is all the same, and counting it would cost.
MANY = 100


class Standing(Struct, frozen=True, kw_only=True):
    """Where the phase of a run stands that waits for an agent or has one."""

    run_id: str
    listener_id: str | None = None  # of the agent that holds it
    log_at: datetime | None = None
    ahead: int = 0  # phases that its pool hands out before, counted up to MANY
    busy: int = 0  # phases that agents of its pool hold
    root: str | None = None  # where its plan was made, if it is an apply that waits


class Stands(Struct, frozen=True, kw_only=True):
    """Where some runs stand, and why nothing at all is handed out, if so."""

    paused: str | None
    by_run: dict[str, Standing]


class Artifact(Struct, frozen=True):
    """Something a plan left for its apply."""

    digest: str
    size: int
    key: str  # of the blob


class NewRun(Struct, frozen=True, kw_only=True):
    """What a run is asked for with."""

    workspace_id: str
    configuration_version_id: str | None = None
    message: str = ""
    source: str = "tfe-api"
    trigger_reason: str = "manual"
    terraform_version: str | None = None
    is_destroy: bool = False
    auto_apply: bool | None = None
    plan_only: bool = False
    save_plan: bool = False
    refresh: bool = True
    refresh_only: bool = False
    allow_empty_apply: bool = False
    allow_config_generation: bool = False
    target_addrs: list[str] = []
    replace_addrs: list[str] = []
    invoke_action_addrs: list[str] = []
    variables: list[RunVariable] = []
