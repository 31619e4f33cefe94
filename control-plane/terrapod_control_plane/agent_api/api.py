"""Routes that only agents call, on the agent port."""

from typing import Any

from litestar import Response, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Stream

from terrapod_common import wire
from terrapod_control_plane.agent_api import model, service
from terrapod_control_plane.runs.phases.leases.model import LeaseRef
from terrapod_control_plane.web.long_polls import unless_gone
from terrapod_control_plane.web.params import AnyRequest, Ctx, seconds, whole_number
from terrapod_control_plane.web.streams import limited, streamed

Lease = NamedDependency[LeaseRef]
_PHASE = "/listeners/{listener_id:str}/phases/{phase_id:str}"
_LARGEST_CHUNK = 1024 * 1024


def lease_of_request(ctx: Ctx, request: AnyRequest) -> LeaseRef:
    """What the path and the query of a call about a phase say: the dependency ``lease``."""
    # It needs no `ctx`; but what can be made at the same time Litestar makes in a task group.
    named = request.path_params
    fence = whole_number(request.query_params.get("fence"))
    return LeaseRef(listener=named["listener_id"], phase=named["phase_id"], fence=fence)


@post("/listeners/{listener_id:str}/heartbeat", status_code=200)
async def heartbeat(
    ctx: Ctx, listener_id: FromPath[str], data: JSONBody[wire.Heartbeat]
) -> wire.HeartbeatAnswer:
    """I am alive, and this is what I hold."""
    return await service.heartbeat(ctx, listener_id, data)


@get("/listeners/{listener_id:str}/runs/next")
async def next_work(
    ctx: Ctx, listener_id: FromPath[str], request: AnyRequest
) -> wire.NextWork | wire.Work | None:
    """A phase for an idle slot, as a long poll; with ``seen`` also orders for its agent."""
    asked = request.query_params
    slot = model.Slot(
        number=whole_number(asked.get("slot")),
        key=asked.get("key", ""),
        accept=asked.get("accept", ""),
        seen=asked.get("seen", ""),
        root=asked.get("root", ""),
    )
    wait = seconds(asked.get("wait"))
    found = await unless_gone(request, lambda: service.next_work(ctx, listener_id, slot, wait))
    # Who does not name the orders that it has seen gets work or nothing.
    return found.work if found and not slot.seen else found


@get("/listeners/{listener_id:str}/orders")
async def orders(ctx: Ctx, listener_id: FromPath[str], request: AnyRequest) -> wire.Orders:
    """The orders that stand, as a long poll."""
    asked = request.query_params
    wait, seen = seconds(asked.get("wait")), asked.get("seen", "")
    found = await unless_gone(request, lambda: service.orders(ctx, listener_id, wait, seen))
    return found or wire.Orders()


@patch("/listeners/{listener_id:str}/runs/{run_id:str}")
async def report(
    ctx: Ctx, listener_id: FromPath[str], run_id: FromPath[str], data: JSONBody[wire.Report]
) -> wire.Reported:
    """A change of a phase."""
    return await service.report(ctx, listener_id, run_id, data)


@put(_PHASE + "/log")
async def log(ctx: Ctx, lease: Lease, request: AnyRequest) -> wire.LogAnswer:
    """Bytes of a log at an offset."""
    data = await _chunk(request)
    return await service.append_log(ctx, lease, _offset(request), data)


@get(_PHASE + "/configuration")
async def configuration(ctx: Ctx, lease: Lease) -> Stream:
    """The configuration archive."""
    return await streamed(await service.configuration(ctx, lease))


@get(_PHASE + "/state")
async def state(ctx: Ctx, lease: Lease) -> Response[Any]:
    """The current state; 204 when there never was one."""
    found = await service.state(ctx, lease)
    return Response(None, status_code=204) if found is None else await streamed(found)


@put(_PHASE + "/state", request_max_body_size=None)
async def save_state(ctx: Ctx, lease: Lease, request: AnyRequest) -> wire.StoredAnswer:
    """A state that the apply reached."""
    body = limited(request, ctx.settings.states.bytes_at_most)
    final = request.query_params.get("final") == "true"
    return await service.save_state(ctx, lease, body, final=final)


@put(_PHASE + "/recovered-state", request_max_body_size=None)
async def recover_state(ctx: Ctx, lease: Lease, request: AnyRequest) -> wire.StoredAnswer:
    """The state of an apply whose lease ended while it ran."""
    body = limited(request, ctx.settings.states.bytes_at_most)
    return await service.recover_state(ctx, lease, body)


@put(_PHASE + "/late-log")
async def late_log(ctx: Ctx, lease: Lease, request: AnyRequest) -> wire.LogAnswer:
    """The rest of the log of an apply that was given up, at an offset of the agent's own log."""
    data = await _chunk(request)
    return await service.late_log(ctx, lease, _offset(request), data)


@put(_PHASE + "/late-result")
async def late_result(
    ctx: Ctx, lease: Lease, data: JSONBody[wire.LateResult]
) -> wire.LateResultAnswer:
    """What became of an apply that was given up; changes only what the hold says."""
    return await service.late_result(ctx, lease, data)


@put(_PHASE + "/artifacts/{name:str}", request_max_body_size=None)
async def save_artifact(
    ctx: Ctx, lease: Lease, name: FromPath[str], request: AnyRequest
) -> wire.StoredAnswer:
    """Something the plan leaves for its apply."""
    body = limited(request, ctx.settings.configurations.unpacked_bytes_at_most)
    named = model.Named(name, request.query_params.get("digest", ""))
    return await service.save_artifact(ctx, lease, named, body)


@get(_PHASE + "/artifacts/{name:str}")
async def artifact(ctx: Ctx, lease: Lease, name: FromPath[str]) -> Stream:
    """What the plan of this apply left."""
    return await streamed(await service.artifact(ctx, lease, name))


async def _chunk(request: AnyRequest) -> bytes:
    return b"".join([chunk async for chunk in limited(request, _LARGEST_CHUNK)])


def _offset(request: AnyRequest) -> int:
    return whole_number(request.query_params.get("offset"))


ROUTES = [
    heartbeat,
    next_work,
    orders,
    report,
    log,
    configuration,
    state,
    save_state,
    recover_state,
    late_log,
    late_result,
    save_artifact,
    artifact,
]
