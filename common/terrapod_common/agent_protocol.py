"""Every call that an agent may make: method, path, request, response.

The order of one phase, which both sides may rely on:

1. ``NEXT_WORK`` claims a phase and sets its lease and fence. A claim whose answer was lost is asked
   again with the same ``key`` and gives the same work.
2. ``CONFIGURATION``, ``STATE_GET``, ``ARTIFACT_GET`` and ``TOOL`` fetch what it needs.
3. ``REPORT`` with ``planning`` or ``applying`` asks to start. Only after a 200 may terraform run.
4. ``LOG`` appends at a byte offset, ``STATE_PUT`` stores a state, ``ARTIFACT_PUT`` an artifact.
5. ``REPORT`` with ``planned``, ``applied``, ``errored`` or ``canceled`` ends the phase.

``HEARTBEAT`` renews the leases all the while and brings orders; ``ORDERS`` brings them at once
while something runs, ``NEXT_WORK`` while nothing does: an idle agent holds one long poll.
What carries a fence gets 409 when the fence is stale, and has then changed nothing. After that
three calls are left for an apply that was given up after its start, under the fence it was lost
with: ``RECOVERED_STATE`` for its state, then ``LATE_LOG`` for the rest of its log, then, once,
``LATE_RESULT`` for what became of it. They change nothing but what the hold of the workspace says.

What is refused is answered with a document of errors, whose ``code`` says what to make of it.
"""

from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct

from terrapod_common import wire

Q = TypeVar("Q")
A = TypeVar("A")


class Call(Struct, Generic[Q, A], frozen=True, kw_only=True):
    """One endpoint; ``bytes`` as request or response is a streamed body.

    ``query`` names the query parameters, ``port`` where it is served: ``agents`` is mutual TLS.
    """

    name: str
    method: Literal["GET", "POST", "PUT", "PATCH"]
    path: str
    request: type[Any] | None
    response: type[Any] | None
    query: tuple[str, ...] = ()
    port: Literal["agents", "public"] = "agents"


class Code(StrEnum):
    """Why something was refused. Servers from before it give none: there the status tells."""

    CERTIFICATE = "certificate-not-valid"  # not known, ended or revoked
    UNKNOWN_LISTENER = "unknown-listener"  # there is none, or it is not the certificate's
    AGENT_PORT = "agent-port-only"
    JOINING = "join-token-not-valid"  # not known, revoked, ended, used up or of another pool
    NONCE = "nonce-not-valid"
    SIGNATURE = "signature-not-valid"
    OTHER_KEY = "other-key"  # than the recorded one, for which alone there are certificates
    ENDED_LONG_AGO = "certificate-ended-long-ago"  # only joining again helps
    STALE_FENCE = "stale-fence"  # the phase was held under it, and is no more
    NOT_YOURS = "not-yours"  # the phase: not any more, not yet, or there is none
    NOT_LOST = "not-lost"  # so nothing of it can come late
    NOTHING_MORE = "nothing-more"  # all was said or stored that there was
    OLD_EPOCH = "old-epoch"  # the fence is from before a restore
    CANCELED = "canceled"  # so it does not start
    PAUSED = "paused"  # the server, after a restore: nothing starts
    WRONG_STATUS = "wrong-status"  # of the phase: it can't do this, or not now
    LOG_SIZE = "log-size"  # the log is not as long here as was announced
    NO_PLAN_FILE = "no-plan-file"  # which the plan should have uploaded
    WRONG_DIGEST = "wrong-digest"  # the content is not the announced one
    WRONG_STATE = "wrong-state"  # it can't be read, or does not follow the present one
    NOT_SHARED = "not-shared"  # the state of a workspace, with the one of the phase
    # Of what is refused for no reason that agents have to tell from others, by its status.
    MALFORMED = "malformed"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    GONE = "gone"
    TOO_LARGE = "too-large"
    INVALID = "invalid"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    STORAGE_FULL = "storage-full"


_LISTENER = "/api/v2/listeners/{listener_id}"
_PHASE = _LISTENER + "/phases/{phase_id}"

JOIN: Call[wire.Join, wire.Joined] = Call(
    name="join",
    method="POST",
    path="/api/v2/agent-pools/join",
    request=wire.Join,
    response=wire.Joined,
    port="public",
)
NONCE: Call[None, wire.Nonce] = Call(
    name="nonce",
    method="POST",
    path=_LISTENER + "/nonce",
    request=None,
    response=wire.Nonce,
    port="public",
)
# Served on both ports: on the public one nonce and signature are needed.
RENEW: Call[wire.Renew, wire.Renewed] = Call(
    name="renew",
    method="POST",
    path=_LISTENER + "/renew",
    request=wire.Renew,
    response=wire.Renewed,
)
HEARTBEAT: Call[wire.Heartbeat, wire.HeartbeatAnswer] = Call(
    name="heartbeat",
    method="POST",
    path=_LISTENER + "/heartbeat",
    request=wire.Heartbeat,
    response=wire.HeartbeatAnswer,
)
# 204 without a body when nothing came within `wait` seconds. `accept`: "plan", "apply" or both,
# joined by a comma. `slot` numbers the agent's polls from 0, a newer one ends the older; `key` is
# fresh for each new question; `root` is the folder in which the agent's runs work: an apply needs
# that of its plan. With `seen`, as for ORDERS, the answer is a NextWork and comes also for an
# order; without it the answer is a Work.
NEXT_WORK: Call[None, wire.NextWork] = Call(
    name="next_work",
    method="GET",
    path=_LISTENER + "/runs/next",
    request=None,
    response=wire.NextWork,
    query=("wait", "slot", "key", "accept", "seen", "root"),
)
# Answers at once when `seen` differs from that of the orders that stand, as
# `wire.orders_fingerprint` makes it of all that were in the last answer ("0" of none), else waits.
ORDERS: Call[None, wire.Orders] = Call(
    name="orders",
    method="GET",
    path=_LISTENER + "/orders",
    request=None,
    response=wire.Orders,
    query=("wait", "seen"),
)
REPORT: Call[wire.Report, wire.Reported] = Call(
    name="report",
    method="PATCH",
    path=_LISTENER + "/runs/{run_id}",
    request=wire.Report,
    response=wire.Reported,
)
# 200 also when the offset was not the expected one: the answer says from where to send again.
LOG: Call[bytes, wire.LogAnswer] = Call(
    name="log",
    method="PUT",
    path=_PHASE + "/log",
    request=bytes,
    response=wire.LogAnswer,
    query=("fence", "offset"),
)
CONFIGURATION: Call[None, bytes] = Call(
    name="configuration",
    method="GET",
    path=_PHASE + "/configuration",
    request=None,
    response=bytes,
    query=("fence",),
)
STATE_GET: Call[None, bytes] = Call(
    name="state_get",
    method="GET",
    path=_PHASE + "/state",
    request=None,
    response=bytes,
    query=("fence",),
)
# `final` is "true" for the last state of the phase. The same bytes may be sent again.
STATE_PUT: Call[bytes, wire.StoredAnswer] = Call(
    name="state_put",
    method="PUT",
    path=_PHASE + "/state",
    request=bytes,
    response=wire.StoredAnswer,
    query=("fence", "final"),
)
RECOVERED_STATE: Call[bytes, wire.StoredAnswer] = Call(
    name="recovered_state",
    method="PUT",
    path=_PHASE + "/recovered-state",
    request=bytes,
    response=wire.StoredAnswer,
    query=("fence",),
)
# As LOG: the offset is that in the agent's own log, and the answer says where to go on.
# Nothing more is taken after LATE_RESULT: 409.
LATE_LOG: Call[bytes, wire.LogAnswer] = Call(
    name="late_log",
    method="PUT",
    path=_PHASE + "/late-log",
    request=bytes,
    response=wire.LogAnswer,
    query=("fence", "offset"),
)
LATE_RESULT: Call[wire.LateResult, wire.LateResultAnswer] = Call(
    name="late_result",
    method="PUT",
    path=_PHASE + "/late-result",
    request=wire.LateResult,
    response=wire.LateResultAnswer,
    query=("fence",),
)
# `digest` is the sha256 hex of the body; a body with another digest is refused with 422.
ARTIFACT_PUT: Call[bytes, wire.StoredAnswer] = Call(
    name="artifact_put",
    method="PUT",
    path=_PHASE + "/artifacts/{name}",
    request=bytes,
    response=wire.StoredAnswer,
    query=("fence", "digest"),
)
# On an apply phase: the artifact that its plan left.
ARTIFACT_GET: Call[None, bytes] = Call(
    name="artifact_get",
    method="GET",
    path=_PHASE + "/artifacts/{name}",
    request=None,
    response=bytes,
    query=("fence",),
)
# A workspace that shares its state with the one of the phase, by `name` or by `id`. What is not
# shared and what does not exist are refused alike, with 403.
SHARED_WORKSPACE: Call[None, wire.SharedWorkspace] = Call(
    name="shared_workspace",
    method="GET",
    path=_PHASE + "/shared-workspace",
    request=None,
    response=wire.SharedWorkspace,
    query=("fence", "name", "id"),
)
# A state with its outputs and without its resources.
SHARED_STATE: Call[None, bytes] = Call(
    name="shared_state",
    method="GET",
    path=_PHASE + "/shared-states/{version_id}",
    request=None,
    response=bytes,
    query=("fence",),
)
# Its outputs as a document of JSON:API, sensitive ones without their values.
SHARED_OUTPUTS: Call[None, bytes] = Call(
    name="shared_outputs",
    method="GET",
    path=_PHASE + "/shared-states/{version_id}/outputs",
    request=None,
    response=bytes,
    query=("fence",),
)
# One of them, with its value.
SHARED_OUTPUT: Call[None, bytes] = Call(
    name="shared_output",
    method="GET",
    path=_PHASE + "/shared-outputs/{output_id}",
    request=None,
    response=bytes,
    query=("fence",),
)
# Redirects to a signed URL on the same port; the header X-Terrapod-Digest of the redirect is the
# sha256 hex of the executable.
TOOL: Call[None, bytes] = Call(
    name="tool",
    method="GET",
    path="/api/v2/binary-cache/{tool}/{version}/{os}/{arch}",
    request=None,
    response=bytes,
)

CALLS: tuple[Call[Any, Any], ...] = (
    JOIN,
    NONCE,
    RENEW,
    HEARTBEAT,
    NEXT_WORK,
    ORDERS,
    REPORT,
    LOG,
    CONFIGURATION,
    STATE_GET,
    STATE_PUT,
    RECOVERED_STATE,
    LATE_LOG,
    LATE_RESULT,
    ARTIFACT_PUT,
    ARTIFACT_GET,
    SHARED_WORKSPACE,
    SHARED_STATE,
    SHARED_OUTPUTS,
    SHARED_OUTPUT,
    TOOL,
)
