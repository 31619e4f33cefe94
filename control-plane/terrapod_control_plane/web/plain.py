"""Plain JSON in and out, as agents speak it, and long polls that notice a client leaving."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import msgspec
from litestar import Request, Response
from msgspec import Struct

from terrapod_common.errors import BadRequest, TooLarge, Unprocessable
from terrapod_common.reading import Malformed, read_json

T = TypeVar("T")
S = TypeVar("S", bound=Struct)
Answer = Response[Any]
AnyRequest = Request[Any, Any, Any]

_LARGEST = 1024 * 1024


async def body(request: AnyRequest, into: type[S]) -> S:
    """The request's JSON as a struct."""
    raw = await request.body()
    if len(raw) > _LARGEST:
        raise TooLarge("The body is too large.")
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
    """A whole number of a query, -1 when it is none."""
    fits = text is not None and text.isdecimal() and len(text) < 17
    return int(text) if fits and text else -1


def seconds(text: str | None) -> float:
    """A duration of a query, 0 when it is none."""
    whole, _, fraction = (text or "").partition(".")
    fits = whole.isdecimal() and len(whole) < 10 and (fraction.isdecimal() or not fraction)
    return float(text) if fits and text else 0.0


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
