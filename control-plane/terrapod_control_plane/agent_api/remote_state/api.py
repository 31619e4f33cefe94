"""Routes by which a phase reads the outputs of other workspaces, on the agent port."""

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from terrapod_common import wire
from terrapod_control_plane.agent_api.remote_state import service
from terrapod_control_plane.runs.phases.leases.model import LeaseRef
from terrapod_control_plane.states.outputs import views as outputs_views
from terrapod_control_plane.web.params import AnyRequest, Ctx

Lease = NamedDependency[LeaseRef]
_PHASE = "/listeners/{listener_id:str}/phases/{phase_id:str}"


@get(_PHASE + "/shared-workspace")
async def workspace(ctx: Ctx, lease: Lease, request: AnyRequest) -> wire.SharedWorkspace:
    """A workspace that shares its state with the phase's, by name or by id."""
    asked = request.query_params
    return await service.workspace(ctx, lease, name=asked.get("name", ""), id_=asked.get("id", ""))


@get(_PHASE + "/shared-states/{version_id:str}")
async def state(ctx: Ctx, lease: Lease, version_id: FromPath[str]) -> Response[bytes]:
    """A state that is shared with the phase's workspace, without its resources."""
    return _json(await service.state(ctx, lease, version_id))


@get(_PHASE + "/shared-states/{version_id:str}/outputs")
async def outputs(ctx: Ctx, lease: Lease, version_id: FromPath[str]) -> Response[bytes]:
    """The outputs of such a state; sensitive ones without their values."""
    return _json(
        await outputs_views.document_of_version(ctx, await service.version(ctx, lease, version_id))
    )


@get(_PHASE + "/shared-outputs/{output_id:str}")
async def output(ctx: Ctx, lease: Lease, output_id: FromPath[str]) -> Response[bytes]:
    """An output of such a state, with its value."""
    return _json(await outputs_views.document(ctx, await service.output(ctx, lease, output_id)))


def _json(content: bytes) -> Response[bytes]:
    return Response(content, media_type="application/json")


ROUTES = [workspace, state, outputs, output]
