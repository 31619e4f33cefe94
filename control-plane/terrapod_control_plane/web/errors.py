"""Turns every exception into an error document; the only place that does."""

import errno
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from msgspec import structs

from terrapod_common.agent_protocol import Code
from terrapod_control_plane.kernel import db, jsonapi
from terrapod_control_plane.kernel.blobs.base import BlobMissing
from terrapod_control_plane.kernel.blobs.sealed import BlobDamaged
from terrapod_control_plane.kernel.errors import Refused
from terrapod_control_plane.kernel.jsonapi import Invalid, Problem
from terrapod_control_plane.web.auth import peer_certificate

log = structlog.get_logger()
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})

AnyRequest = Request[Any, Any, Any]


_CODES = {
    400: Code.MALFORMED,
    401: Code.UNAUTHORIZED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    409: Code.CONFLICT,
    410: Code.GONE,
    413: Code.TOO_LARGE,
    422: Code.INVALID,
    500: Code.INTERNAL,
    503: Code.UNAVAILABLE,
}


def _answer(
    request: AnyRequest,
    problem: Problem,
    headers: dict[str, str] | None = None,
    *,
    code: Code | None = None,
) -> Response[Any]:
    status = int(problem.status)
    if _of_agent(request):
        problem = structs.replace(problem, code=code or _CODES.get(status, Code.MALFORMED))
    body = jsonapi.dump_errors([problem])
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _of_agent(request: AnyRequest) -> bool:
    """Whether an agent is told, or who wants to be one: other clients get no codes."""
    handler: Any = request.scope.get("route_handler")
    mine = handler is not None and "plane" in handler.opt
    return mine or peer_certificate(request) is not None


def refused(request: AnyRequest, error: Refused) -> Response[Any]:
    """What a use case raised."""
    source = {"pointer": error.pointer} if error.pointer else {}
    problem = Problem(str(error.status), error.title, error.detail, source)
    return _answer(request, problem, code=error.code)


def invalid(request: AnyRequest, error: Invalid) -> Response[Any]:
    """What the codec raised."""
    return _answer(request, error.problem)


def bad_data(request: AnyRequest, error: Exception) -> Response[Any]:
    """Text that the database cannot hold, such as a NUL."""
    return _answer(
        request, Problem("422", "invalid attribute", f"A value cannot be stored: {error}")
    )


def missing(request: AnyRequest, error: db.Missing) -> Response[Any]:
    """What the new thing belongs to was deleted in this moment."""
    log.warning("it belongs to nothing", reason=str(error), method=request.method)
    return _answer(request, Problem("404", "not found", "What this belongs to is gone."))


def lost(request: AnyRequest, error: Exception) -> Response[Any]:
    """A content that should be there is not, or is not what was stored."""
    log.error("content lost", reason=str(error), method=request.method)
    return _answer(
        request, Problem("410", "gone", "The content is missing or damaged on the server.")
    )


def away(request: AnyRequest, error: Exception) -> Response[Any]:
    """The database is away or in a knot; the same request may work in a moment."""
    if isinstance(error, db.UNCLEAR) and not db.cut_off(error):
        return unexpected(request, error)
    log.warning("database away", reason=f"{type(error).__name__}: {error}", method=request.method)
    problem = Problem("503", "service unavailable", "The database does not answer; try again.")
    return _answer(request, problem, {"retry-after": "1"})


def unstored(request: AnyRequest, error: OSError) -> Response[Any]:
    """The disk takes nothing; the same request works when there is room again."""
    if error.errno not in _NO_ROOM:
        return unexpected(request, error)
    log.error("nothing can be stored", reason=str(error), method=request.method)
    detail = f"The server's storage takes nothing: {error.strerror}; try again."
    problem = Problem("503", "service unavailable", detail)
    return _answer(request, problem, {"retry-after": "5"}, code=Code.STORAGE_FULL)


def http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """What Litestar raised: no such route, wrong method, a body that is too large."""
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", error=error.detail)
        return _answer(request, Problem("500", "internal server error"))
    headers = dict(error.headers or {})
    return _answer(
        request, Problem(str(status.value), status.phrase.lower(), error.detail), headers
    )


def unexpected(request: AnyRequest, error: Exception) -> Response[Any]:
    """A mistake of ours: logged with its trace, told without it."""
    log.error("request failed", exc_info=error, method=request.method)
    detail = f"The server's log tells more under request id {request.scope.get('request_id', '')}."
    return _answer(request, Problem("500", "internal server error", detail))


HANDLERS: ExceptionHandlersMap = {
    Refused: refused,
    Invalid: invalid,
    db.BadData: bad_data,
    db.TooLarge: bad_data,
    db.Missing: missing,
    BlobMissing: lost,
    BlobDamaged: lost,
    **dict.fromkeys((*db.AWAY, *db.UNCLEAR, db.Deadlock), away),
    OSError: unstored,
    HTTPException: http,
    Exception: unexpected,
}
