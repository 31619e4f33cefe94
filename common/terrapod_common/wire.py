"""The structs that the agent and the control plane exchange, in plain JSON."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

# What no number may pass, so that none is believed that nobody can store, add up or wait for.
LARGEST_INTEGER = 2**53 - 1
Fence = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]
Size = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]
Serial = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Slots = Annotated[int, Meta(ge=0, le=1024)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]

PhaseKind = Literal["plan", "apply"]
OrderKind = Literal["cancel", "force_cancel"]
ReportStatus = Literal["planning", "planned", "applying", "applied", "errored", "canceled"]

# Artifacts that a plan leaves for its apply, by name.
PLAN_FILE = "plan"  # the saved plan of terraform
PLAN_JSON = "plan-json"  # `terraform show -json` of it
LOCK_FILE = "lock-file"  # .terraform.lock.hcl
CREATED_FILES = "created-files"  # tar.gz of what the plan made inside the working tree


class Join(Struct, kw_only=True):
    """Asks for an identity; the token is the credential."""

    join_token: str
    name: str
    csr: str | None = None  # PEM; without it the server makes a key and returns it
    runner_definitions: list[str] = []
    version: str = ""


class Joined(Struct, kw_only=True, omit_defaults=True):
    """An identity: certificate, whom to trust, where the agent port is."""

    listener_id: str
    pool_id: str
    certificate: str  # PEM
    ca_certificate: str  # PEM
    agent_url: str
    renew_after_seconds: Seconds
    private_key: str | None = None


class Nonce(Struct, kw_only=True):
    """To be signed by a listener whose certificate has ended."""

    nonce: str


class Renew(Struct, kw_only=True):
    """Asks for the next certificate; nonce and signature only on the public port.

    The signature is made with the listener's recorded key over nonce, line feed and CSR, in base64.
    """

    csr: str
    nonce: str | None = None
    signature: str | None = None


class Renewed(Struct, kw_only=True):
    """The next certificate; the one before stays valid until it ends."""

    certificate: str
    ca_certificate: str
    renew_after_seconds: Seconds


class HeldPhase(Struct, kw_only=True, frozen=True):
    """A phase that the agent says it runs."""

    phase_id: str
    fence: Fence
    claim: str = ""  # as it came with the work


class Heartbeat(Struct, kw_only=True):
    """I am alive, and this is what I hold."""

    version: str = ""
    slots: Slots = 1
    draining: bool = False
    holding: Annotated[list[HeldPhase], Meta(max_length=2048)] = []
    platform: str = ""  # such as linux_amd64
    # What an agent before this one held, and nobody runs any more.
    dropped: Annotated[list[HeldPhase], Meta(max_length=2048)] = []
    # At the start, until it is answered: the applies of agents before this one that it still has.
    kept: Annotated[list[HeldPhase], Meta(max_length=2048)] | None = None
    trouble: Annotated[str, Meta(max_length=1000)] = ""  # why it takes no work, if so
    root: str = ""  # the folder in which its runs work


class Order(Struct, kw_only=True, frozen=True):
    """What the server wants done with a phase that the agent holds."""

    phase_id: str
    fence: Fence
    kind: OrderKind


def orders_fingerprint(orders: Sequence[Order]) -> str:
    """Which orders somebody knows, in a few characters; their number would not tell."""
    if not orders:
        return "0"
    named = sorted(f"{order.phase_id} {order.fence} {order.kind}" for order in orders)
    return hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]


class Orders(Struct, kw_only=True):
    """All orders that stand; the same order comes until the phase has ended."""

    orders: list[Order] = []
    drain: bool = False


class HeartbeatAnswer(Struct, kw_only=True):
    """Which leases were renewed for how long, which phases are no longer the agent's."""

    every_seconds: Seconds
    leases: dict[str, Seconds] = {}  # phase id -> seconds from now
    lost: list[str] = []  # phase ids
    orders: list[Order] = []
    drain: bool = False


class RunVariable(Struct, kw_only=True):
    """An effective variable of a run; a later one of the same key and category wins."""

    key: str
    value: str
    category: Literal["terraform", "env"] = "terraform"
    hcl: bool = False
    sensitive: bool = False


class Tool(Struct, kw_only=True):
    """Which program runs the phase; the digest is the sha256 of the executable."""

    name: Literal["terraform", "tofu"]
    version: str
    digest: str | None = None  # known once the cache holds the binary for this platform


class Flags(Struct, kw_only=True):
    """Options of the run that change the command line."""

    destroy: bool = False
    refresh: bool = True
    refresh_only: bool = False
    targets: list[str] = []
    replaces: list[str] = []
    allow_config_generation: bool = False
    invokes: list[str] = []  # actions, for terraform 1.14 and newer


class Limits(Struct, kw_only=True):
    """How long and how much."""

    phase_seconds: Seconds = 7200
    grace_seconds: Seconds = 30  # from interrupt to kill
    log_bytes: Size = 64 * 1024 * 1024
    created_files_bytes: Size = 64 * 1024 * 1024
    state_every_seconds: Seconds = 10
    configuration_bytes: Size = 256 * 1024 * 1024  # unpacked
    memory_bytes: Size = 0  # near it terraform is interrupted; 0: no limit
    state_bytes: Size = 256 * 1024 * 1024  # a larger one is not read


class Work(Struct, kw_only=True):
    """One phase, claimed: all that is needed to run it. Bodies are fetched by protocol calls."""

    run_id: str
    phase_id: str
    kind: PhaseKind
    fence: Fence  # (epoch, n) in one number; only greater and less mean anything to an agent
    lease_seconds: Seconds
    organization: str
    workspace_id: str
    workspace: str
    working_directory: str
    tool: Tool
    flags: Flags
    limits: Limits
    variables: list[RunVariable] = []
    environment: dict[str, str] = {}  # TFC_RUN_ID and its like
    has_configuration: bool = True
    has_state: bool = False
    artifacts: dict[str, str] = {}  # for an apply: artifact name -> sha256 hex of the approved plan
    claim: str = ""  # the server's signature on this claim; shown with each heartbeat
    hosts: list[str] = []  # names under which users address this server, with a port unless 443


class NextWork(Struct, kw_only=True, omit_defaults=True):
    """What an idle slot is answered with when it names the orders that it has seen."""

    work: Work | None = None
    orders: list[Order] = []  # as in Orders, when they are others than the agent has seen
    drain: bool = False


class Report(Struct, kw_only=True):
    """A change of a phase. ``planning`` and ``applying`` confirm the start before it happens."""

    status: ReportStatus
    phase_id: str | None = None
    fence: Fence | None = None
    message: str = ""  # the reason, when errored
    has_changes: bool | None = None
    additions: Count = 0
    changes: Count = 0
    destructions: Count = 0
    imports: Count = 0
    log_size: Size | None = None  # the plain bytes that were sent; the server checks
    tool_version: str = ""
    state_uploaded: bool = True  # false: an apply ended whose last state could not be sent yet
    limit_passed: bool = False  # it was stopped because it took longer than it may
    hard: bool = False  # an apply: terraform did not end by itself, so its state may be behind
    state_trouble: Annotated[str, Meta(max_length=1000)] = ""  # why the last state was not sent
    # Of the variables that a plan was given, those that its configuration declares and does not
    # call sensitive; not told by agents that do not know.
    plain_variables: list[str] | None = None


class LateResult(Struct, kw_only=True):
    """What became of an apply that the server had given up: for the person who ends the hold."""

    began: bool  # terraform was started on the approved plan
    ended: Annotated[str, Meta(max_length=1000)] = ""  # how terraform ended, in words
    hard: bool = False
    # `handed_in` as a recovered state; `none` was written; `kept` where the agent ran, and why
    state: Literal["handed_in", "none", "kept"] = "none"
    state_trouble: Annotated[str, Meta(max_length=1000)] = ""


class LateResultAnswer(Struct, kw_only=True):
    """A late result was noted; ``hold`` is what the hold of the workspace says now, if any."""

    hold: str = ""


class Reported(Struct, kw_only=True):
    """The report was taken; for a start, how long the lease now is."""

    status: str  # of the run
    lease_seconds: Seconds = 0


class LogAnswer(Struct, kw_only=True):
    """The offset at which the next byte is expected, whether or not these were taken."""

    offset: Size


class SharedState(Struct, kw_only=True):
    """The present state of a workspace that shares it."""

    id: str
    serial: Serial
    lineage: str
    terraform_version: str = ""
    created_at: str = ""


class SharedWorkspace(Struct, kw_only=True):
    """A workspace whose outputs a phase may read."""

    id: str
    name: str
    terraform_version: str = ""
    state: SharedState | None = None


class StoredAnswer(Struct, kw_only=True):
    """An upload is durable."""

    size: Size
    digest: str  # sha256 hex
