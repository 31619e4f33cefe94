"""Who asks: a bearer token on the public port, a client certificate on the agent port."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from msgspec import Struct

from terrapod_common.agent_protocol import Code
from terrapod_control_plane.kernel.context import Context, Services
from terrapod_control_plane.kernel.errors import Forbidden, TooLarge, Unauthorized
from terrapod_control_plane.kernel.policy import Actor

NOBODY = Actor()
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")

# Marks of routes, for `opt=`.
PUBLIC: dict[str, Any] = {"public": True}  # needs no token: the URL or the body is the credential
# The same for a content whose signed URL is looked at before the body is.
SIGNED: dict[str, Any] = PUBLIC | {"signed": True}
AGENTS: dict[str, Any] = {"plane": "agents"}  # only on the agent port
# By whoever wants to be an agent: served on both ports.
ENROLMENT: dict[str, Any] = PUBLIC | {"plane": "enrolment"}


class Credentials(Struct, frozen=True, kw_only=True):
    """How the edge finds out who asks; filled by the slices that know."""

    of_token: Callable[[str], Awaitable[Actor | None]]
    of_certificate: Callable[[bytes], Awaitable[Actor | None]]


async def authenticate(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """The guard of every route: finds the actor, or refuses before the body is read."""
    connection.state.actor = actor = await _actor(connection, handler)
    if actor is NOBODY and not handler.opt.get("signed"):
        _small(connection)


def _small(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Refuses a stranger's body by its announced length; what announces none is counted."""
    services: Services = connection.app.state.services
    allowed = services.settings.server.stranger_bytes_at_most
    announced = connection.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > allowed:
        raise TooLarge(f"The body has {announced} bytes, {allowed} are allowed.")


async def _actor(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> Actor:
    credentials: Credentials = connection.app.state.credentials
    certificate = peer_certificate(connection)
    if certificate is not None:
        actor = await credentials.of_certificate(certificate)
        if actor is None:
            told = "This certificate is not known, has ended or was revoked."
            raise Unauthorized(told, code=Code.CERTIFICATE)
        return actor
    if handler.opt.get("plane") == "agents":
        services: Services = connection.app.state.services
        told = f"Agents are served on {services.settings.agent_url}, with a certificate."
        raise Forbidden(told, code=Code.AGENT_PORT)
    if handler.opt.get("public"):
        return NOBODY
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    actor = await credentials.of_token(token.strip()) if scheme.lower() == "bearer" else None
    if actor is None:
        raise Unauthorized("This needs a valid token: Authorization: Bearer <token>.")
    return actor


def peer_certificate(connection: ASGIConnection[Any, Any, Any, Any]) -> bytes | None:
    """The client certificate (DER) of a connection to the agent port."""
    tls: Any = connection.scope.get("extensions", {}) or {}
    certificate: bytes | None = tls.get("tls", {}).get("client_cert")
    return certificate


def context(request: Request[Any, Any, Any]) -> Context:
    """The dependency ``ctx`` of every handler."""
    services: Services = request.app.state.services
    on_agent_port = peer_certificate(request) is not None
    return Context(
        actor=request.state.actor,
        services=services,
        request_id=str(request.scope.get("request_id", "")),
        base_url=_base_url(request, services, on_agent_port=on_agent_port),
        agent_plane=on_agent_port,
    )


def _base_url(request: Request[Any, Any, Any], services: Services, *, on_agent_port: bool) -> str:
    settings = services.settings
    configured = settings.server.agent_url if on_agent_port else settings.server.public_url
    host = request.headers.get("host", "")
    if not configured and _HOST.fullmatch(host):
        return f"https://{host}"
    return settings.agent_url if on_agent_port else settings.public_url
