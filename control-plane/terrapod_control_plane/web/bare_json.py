"""Plain JSON in and out, as agents speak it, and long polls that notice a client leaving."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import msgspec
from litestar import Request, Response
from msgspec import Struct

from terrapod_common.wire import LARGEST_INTEGER
from terrapod_control_plane.kernel.errors import BadRequest, Unprocessable
from terrapod_control_plane.kernel.reading import Malformed, read_json
from terrapod_control_plane.web.auth import NOBODY
from terrapod_control_plane.web.streams import limited

T = TypeVar("T")
S = TypeVar("S", bound=Struct)
Answer = Response[Any]
AnyRequest = Request[Any, Any, Any]

_LARGEST = 1024 * 1024
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?")
_NUMBER = re.compile(r"-?[0-9]{1,16}")


async def body(request: AnyRequest, into: type[S]) -> S:
    """The request's JSON as a struct."""
    settings = request.app.state.services.settings.server
    by_nobody = request.state.actor is NOBODY
    largest = settings.stranger_bytes_at_most if by_nobody else _LARGEST
    raw = b"".join([chunk async for chunk in limited(request, largest)])
    try:
        found: S = read_json(raw or b"{}", into)
    except Malformed as error:
        raise BadRequest(f"The body is not JSON: {error}") from None
    except msgspec.ValidationError as error:
        raise Unprocessable(str(error)) from None
    return found


def answer(found: Struct | None, status: int = 200) -> Answer:
    """A struct as JSON, or 204 for nothing."""
    if found is None:
        return Response(None, status_code=204)
    return Response(msgspec.json.encode(found), status_code=status, media_type="application/json")


def number(text: str | None) -> int:
    """A whole number of a query, -1 when there is none or less; refuses what is none."""
    if text is None:
        return -1
    if not _NUMBER.fullmatch(text) or int(text) > LARGEST_INTEGER:
        raise BadRequest(f"{text[:40]!r} is not a whole number up to {LARGEST_INTEGER}.")
    return max(int(text), -1)


def seconds(text: str | None) -> float:
    """A duration of a query, 0 when there is none; refuses what is none."""
    if not text:
        return 0.0
    if not _SECONDS.fullmatch(text):
        raise BadRequest(f"{text[:40]!r} is not a number of seconds.")
    return float(text)


async def unless_gone(request: AnyRequest, attempt: Callable[[], Awaitable[T | None]]) -> T | None:
    """What the attempt finds; given up as soon as the client has left.

    A dead poll must not claim: its answer would reach nobody.
    """
    found: T | None = None
    try:
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await request.body()  # else its end would be taken for the client's leaving
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel("the client left")

            tasks.start_soon(watch)
            found = await attempt()
            tasks.cancel_scope.cancel("answered")
    except BaseExceptionGroup as failed:
        # What was refused has to reach the error handlers as itself.
        if len(failed.exceptions) == 1:
            raise failed.exceptions[0] from None
        raise
    return found
