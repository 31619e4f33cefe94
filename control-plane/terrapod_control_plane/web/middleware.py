"""What every answer carries, and the one log line that every request gets."""

import time
from typing import Any

import structlog
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from terrapod_control_plane.kernel import ids
from terrapod_control_plane.kernel.jsonapi import MEDIA_TYPE

log = structlog.get_logger()

_HEADERS = {
    "TFP-API-Version": "2.6",
    "TFP-AppName": "Terrapod",
    # Terraform reads the part between the first letter and the dash as a number.
    "X-TFE-Version": "v202501-1",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# Asked all the time, so worth a line only when something is to be found out.
_QUIET = ("GET", "HEAD")


class RequestMiddleware(ASGIMiddleware):
    """Gives a request its id, an answer its headers, and the log one line for both.

    The line names the route, never the path: paths may carry tokens.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Wrap one request."""
        started = time.perf_counter()
        scope["request_id"] = request_id = ids.new("re")  # type: ignore[typeddict-unknown-key]
        structlog.contextvars.bind_contextvars(request_id=request_id)
        wants_jsonapi = _accepts_jsonapi(scope)
        status = 500

        async def labelled(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _label(message, request_id, jsonapi=wants_jsonapi)
            await send(message)

        try:
            await next_app(scope, receive, labelled)
        finally:
            _line(scope, status, time.perf_counter() - started)
            structlog.contextvars.unbind_contextvars("request_id")


def _accepts_jsonapi(scope: Scope) -> bool:
    if not scope["path"].startswith("/api/"):
        return False
    accept = next((v for k, v in scope["headers"] if k == b"accept"), b"")
    return MEDIA_TYPE.encode() in accept


def _label(message: Any, request_id: str, *, jsonapi: bool) -> None:
    headers = MutableScopeHeaders(message)
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers["X-Request-Id"] = request_id
    # Discovery and its like are always plain JSON, whatever Accept says.
    if jsonapi and headers.get("content-type", "").startswith("application/json"):
        headers["content-type"] = MEDIA_TYPE


def _line(scope: Scope, status: int, seconds: float) -> None:
    if scope["type"] != ScopeType.HTTP:
        return
    actor = scope.get("state", {}).get("actor")
    level = "debug" if scope["method"] in _QUIET and status < 400 else "info"
    getattr(log, level)(
        "request",
        method=scope["method"],
        route=scope.get("path_template", "-"),
        status=status,
        ms=round(seconds * 1000, 1),
        actor=getattr(actor, "id", "") or "nobody",
    )
