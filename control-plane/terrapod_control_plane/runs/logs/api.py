"""The route of logs."""

from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from terrapod_control_plane.runs.logs import service
from terrapod_control_plane.web.auth import PUBLIC
from terrapod_control_plane.web.params import Ctx

_LARGEST_READ = 1024 * 1024


@get("/logs/{token:str}", opt=PUBLIC)
async def log(ctx: Ctx, token: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
    """A cut of a log; the token in the path is the credential."""
    offset, limit = _cut(request)
    body = await service.read(ctx, token, offset, limit)
    return Response(body, media_type="application/octet-stream")


def _cut(request: Request[Any, Any, Any]) -> tuple[int, int]:
    offset = request.query_params.get("offset", "0")
    limit = request.query_params.get("limit", str(_LARGEST_READ))
    return (
        int(offset) if offset.isdecimal() and len(offset) < 19 else 0,
        min(int(limit), _LARGEST_READ) if limit.isdecimal() and len(limit) < 19 else _LARGEST_READ,
    )


ROUTES = [log]
