"""Routes of states that people upload."""

from typing import Any

from litestar import Request, Response, post, put
from litestar.params import FromPath, JSONBody

from terrapod_control_plane.kernel.jsonapi import present
from terrapod_control_plane.states.model import NewState
from terrapod_control_plane.states.schema import StateVersionDoc
from terrapod_control_plane.states.uploads import service
from terrapod_control_plane.states.uploads.schema import StateCreate
from terrapod_control_plane.web.auth import SIGNED
from terrapod_control_plane.web.params import Ctx
from terrapod_control_plane.web.streams import limited

AnyRequest = Request[Any, Any, Any]

_ONE = "/state-versions/{version_id:str}"
# A document may hold a state of the largest inline size, in base64, twice.
_DOCUMENT_BYTES = 64 * 1024 * 1024


def _snapshots(ctx: Ctx) -> dict[str, str]:
    seconds = ctx.settings.states.snapshot_seconds
    return {"X-Terraform-Snapshot-Interval": str(seconds)} if seconds > 0 else {}


@post("/workspaces/{workspace_id:str}/state-versions", request_max_body_size=_DOCUMENT_BYTES)
async def create(
    ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[StateCreate]
) -> Response[StateVersionDoc]:
    """A new version."""
    made = present(await service.create(ctx, workspace_id, data.into(NewState)), StateVersionDoc)
    return Response(made, headers=_snapshots(ctx))


@put("/state-upload/{token:str}", opt=SIGNED, status_code=204, request_max_body_size=None)
async def upload(ctx: Ctx, token: FromPath[str], request: AnyRequest) -> None:
    """The content of a version."""
    await service.upload(ctx, token, limited(request, ctx.settings.states.bytes_at_most))


@put("/json-state-upload/{token:str}", opt=SIGNED, status_code=204, request_max_body_size=None)
async def upload_json(ctx: Ctx, token: FromPath[str], request: AnyRequest) -> None:
    """The state in its other form, which is not kept."""
    await service.upload_json(ctx, token, limited(request, ctx.settings.states.bytes_at_most))


@put(f"{_ONE}/content", opt=SIGNED, status_code=204, request_max_body_size=None)
async def upload_by_id(ctx: Ctx, version_id: FromPath[str], request: AnyRequest) -> None:
    """The content of a pending version."""
    body = limited(request, ctx.settings.states.bytes_at_most)
    await service.upload_by_id(ctx, version_id, body)


@put(f"{_ONE}/json-content", opt=SIGNED, status_code=204, request_max_body_size=None)
async def drop(ctx: Ctx, version_id: FromPath[str], request: AnyRequest) -> None:
    """The state in its other form, which is not kept."""
    body = limited(request, ctx.settings.states.bytes_at_most)
    await service.drop_by_id(ctx, version_id, body)


ROUTES = [create, upload, upload_json, upload_by_id, drop]
