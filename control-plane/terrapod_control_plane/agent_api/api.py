"""Routes that only agents call, on the agent port."""

from typing import Any

from litestar import Request, Response, get, patch, post, put
from litestar.params import FromPath
from litestar.response import Stream

from terrapod_common import wire
from terrapod_control_plane.agent_api import model, service
from terrapod_control_plane.agent_api import service as duty
from terrapod_control_plane.web import bare_json
from terrapod_control_plane.web.auth import AGENTS
from terrapod_control_plane.web.params import Ctx, Query
from terrapod_control_plane.web.streams import limited, streamed

AnyRequest = Request[Any, Any, Any]
_PHASE = "/listeners/{listener_id:str}/phases/{phase_id:str}"
_LARGEST_CHUNK = 1024 * 1024


@post("/listeners/{listener_id:str}/heartbeat", opt=AGENTS)
async def beat(ctx: Ctx, listener_id: FromPath[str], request: AnyRequest) -> bare_json.Answer:
    """I am alive, and this is what I hold."""
    said = await bare_json.body(request, wire.Heartbeat)
    return bare_json.answer(await duty.beat(ctx, listener_id, said))


@get("/listeners/{listener_id:str}/runs/next", opt=AGENTS)
async def next_work(
    ctx: Ctx, listener_id: FromPath[str], asked: Query, request: AnyRequest
) -> bare_json.Answer:
    """A phase for an idle slot, as a long poll; with ``seen`` also orders for its agent."""
    slot = model.Slot(
        number=bare_json.number(asked.get("slot")),
        key=asked.get("key", ""),
        accept=asked.get("accept", ""),
        seen=asked.get("seen", ""),
        root=asked.get("root", ""),
    )
    wait = bare_json.seconds(asked.get("wait"))
    found = await bare_json.unless_gone(
        request, lambda: duty.next_work(ctx, listener_id, slot, wait)
    )
    # Who does not name the orders that it has seen gets work or nothing.
    return bare_json.answer(found.work if found and not slot.seen else found)


@get("/listeners/{listener_id:str}/orders", opt=AGENTS)
async def orders(
    ctx: Ctx, listener_id: FromPath[str], asked: Query, request: AnyRequest
) -> bare_json.Answer:
    """The orders that stand, as a long poll."""
    wait, seen = bare_json.seconds(asked.get("wait")), asked.get("seen", "")
    found = await bare_json.unless_gone(request, lambda: duty.orders(ctx, listener_id, wait, seen))
    return bare_json.answer(found or wire.Orders())


@patch("/listeners/{listener_id:str}/runs/{run_id:str}", opt=AGENTS)
async def report(
    ctx: Ctx, listener_id: FromPath[str], run_id: FromPath[str], request: AnyRequest
) -> bare_json.Answer:
    """A change of a phase."""
    said = await bare_json.body(request, wire.Report)
    return bare_json.answer(await service.report(ctx, listener_id, run_id, said))


@put(_PHASE + "/log", opt=AGENTS)
async def log(
    ctx: Ctx,
    listener_id: FromPath[str],
    phase_id: FromPath[str],
    asked: Query,
    request: AnyRequest,
) -> bare_json.Answer:
    """Bytes of a log at an offset."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    data = b"".join([chunk async for chunk in limited(request, _LARGEST_CHUNK)])
    offset = bare_json.number(asked.get("offset"))
    return bare_json.answer(await service.append_log(ctx, held, offset, data))


@get(_PHASE + "/configuration", opt=AGENTS)
async def configuration(
    ctx: Ctx, listener_id: FromPath[str], phase_id: FromPath[str], asked: Query
) -> Stream:
    """The configuration archive."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    return await streamed(await service.configuration(ctx, held))


@get(_PHASE + "/state", opt=AGENTS)
async def state(
    ctx: Ctx, listener_id: FromPath[str], phase_id: FromPath[str], asked: Query
) -> Response[Any]:
    """The current state; 204 when there never was one."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    found = await service.state(ctx, held)
    return Response(None, status_code=204) if found is None else await streamed(found)


@put(_PHASE + "/state", opt=AGENTS, request_max_body_size=None)
async def save_state(
    ctx: Ctx,
    listener_id: FromPath[str],
    phase_id: FromPath[str],
    asked: Query,
    request: AnyRequest,
) -> bare_json.Answer:
    """A state that the apply reached."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    body = limited(request, ctx.settings.states.bytes_at_most)
    final = asked.get("final") == "true"
    return bare_json.answer(await service.save_state(ctx, held, body, final=final))


@put(_PHASE + "/recovered-state", opt=AGENTS, request_max_body_size=None)
async def recover_state(
    ctx: Ctx,
    listener_id: FromPath[str],
    phase_id: FromPath[str],
    asked: Query,
    request: AnyRequest,
) -> bare_json.Answer:
    """The state of an apply whose lease ended while it ran."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    body = limited(request, ctx.settings.states.bytes_at_most)
    return bare_json.answer(await service.recover_state(ctx, held, body))


@put(_PHASE + "/late-log", opt=AGENTS)
async def late_log(
    ctx: Ctx,
    listener_id: FromPath[str],
    phase_id: FromPath[str],
    asked: Query,
    request: AnyRequest,
) -> bare_json.Answer:
    """The rest of the log of an apply that was given up, at an offset of the agent's own log."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    data = b"".join([chunk async for chunk in limited(request, _LARGEST_CHUNK)])
    offset = bare_json.number(asked.get("offset"))
    return bare_json.answer(await service.late_log(ctx, held, offset, data))


@put(_PHASE + "/late-result", opt=AGENTS)
async def late_result(
    ctx: Ctx,
    listener_id: FromPath[str],
    phase_id: FromPath[str],
    asked: Query,
    request: AnyRequest,
) -> bare_json.Answer:
    """What became of an apply that was given up; changes only what the hold says."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    said = await bare_json.body(request, wire.LateResult)
    return bare_json.answer(await service.late_result(ctx, held, said))


@put(_PHASE + "/artifacts/{name:str}", opt=AGENTS, request_max_body_size=None)
async def save_artifact(
    ctx: Ctx,
    listener_id: FromPath[str],
    phase_id: FromPath[str],
    name: FromPath[str],
    asked: Query,
    request: AnyRequest,
) -> bare_json.Answer:
    """Something the plan leaves for its apply."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    body = limited(request, ctx.settings.configurations.unpacked_bytes_at_most)
    named = model.Named(name, asked.get("digest", ""))
    return bare_json.answer(await service.save_artifact(ctx, held, named, body))


@get(_PHASE + "/artifacts/{name:str}", opt=AGENTS)
async def artifact(
    ctx: Ctx,
    listener_id: FromPath[str],
    phase_id: FromPath[str],
    name: FromPath[str],
    asked: Query,
) -> Stream:
    """What the plan of this apply left."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    return await streamed(await service.artifact(ctx, held, name))


ROUTES = [
    beat,
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
