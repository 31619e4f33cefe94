"""Routes by which a phase reads the outputs of other workspaces, on the agent port."""

from litestar import Response, get
from litestar.params import FromPath

from terrapod_control_plane.agent_api.remote_state import service
from terrapod_control_plane.states.outputs import views as outputs_views
from terrapod_control_plane.web import bare_json
from terrapod_control_plane.web.auth import AGENTS
from terrapod_control_plane.web.params import Ctx, Query

_PHASE = "/listeners/{listener_id:str}/phases/{phase_id:str}"


@get(_PHASE + "/shared-workspace", opt=AGENTS)
async def workspace(
    ctx: Ctx, listener_id: FromPath[str], phase_id: FromPath[str], asked: Query
) -> bare_json.Answer:
    """A workspace that shares its state with the phase's, by name or by id."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    name, id_ = asked.get("name", ""), asked.get("id", "")
    return bare_json.answer(await service.workspace(ctx, held, name=name, id_=id_))


@get(_PHASE + "/shared-states/{version_id:str}", opt=AGENTS)
async def state(
    ctx: Ctx,
    listener_id: FromPath[str],
    phase_id: FromPath[str],
    version_id: FromPath[str],
    asked: Query,
) -> Response[bytes]:
    """A state that is shared with the phase's workspace, without its resources."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    return _json(await service.state(ctx, held, version_id))


@get(_PHASE + "/shared-states/{version_id:str}/outputs", opt=AGENTS)
async def outputs(
    ctx: Ctx,
    listener_id: FromPath[str],
    phase_id: FromPath[str],
    version_id: FromPath[str],
    asked: Query,
) -> Response[bytes]:
    """The outputs of such a state; sensitive ones without their values."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    return _json(
        await outputs_views.document_of_version(ctx, await service.version(ctx, held, version_id))
    )


@get(_PHASE + "/shared-outputs/{output_id:str}", opt=AGENTS)
async def output(
    ctx: Ctx,
    listener_id: FromPath[str],
    phase_id: FromPath[str],
    output_id: FromPath[str],
    asked: Query,
) -> Response[bytes]:
    """An output of such a state, with its value."""
    held = (phase_id, listener_id, bare_json.number(asked.get("fence")))
    return _json(await outputs_views.document(ctx, await service.output(ctx, held, output_id)))


def _json(content: bytes) -> Response[bytes]:
    return Response(content, media_type="application/json")


ROUTES = [workspace, state, outputs, output]
