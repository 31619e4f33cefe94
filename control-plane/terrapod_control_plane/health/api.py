"""Routes of liveness and readiness."""

from litestar import Response, get

from terrapod_control_plane.health import service
from terrapod_control_plane.health.model import Readiness
from terrapod_control_plane.web.auth import PUBLIC
from terrapod_control_plane.web.params import Ctx


@get("/health", opt=PUBLIC, sync_to_thread=False)
def health() -> dict[str, str]:
    """The process runs."""
    return {"status": "healthy"}


@get("/ready", opt=PUBLIC)
async def ready(ctx: Ctx) -> Response[Readiness]:
    """Every part that requests need answers."""
    found = await service.readiness(ctx)
    return Response(found, status_code=200 if found.status == "ready" else 503)


ROUTES = [health, ready]
