"""Service discovery and the version handshake."""

from typing import Any

from litestar import MediaType, Response, get

from terrapod_control_plane.web.auth import PUBLIC


@get("/.well-known/terraform.json", opt=PUBLIC, media_type=MediaType.JSON, sync_to_thread=False)
def discovery() -> dict[str, Any]:
    """Service discovery: only what is served stands here."""
    return {
        "tfe.v2": "/api/v2/",
        "tfe.v2.1": "/api/v2/",
        "tfe.v2.2": "/api/v2/",
        "state.v2": "/api/v2/",
    }


@get("/api/v2/ping", opt=PUBLIC, sync_to_thread=False)
def ping() -> Response[None]:
    """The first call of every client; only the headers count."""
    return Response(None, status_code=204)


ROUTES = [discovery, ping]
