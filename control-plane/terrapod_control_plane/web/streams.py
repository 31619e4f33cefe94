"""Bodies that are never held whole."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request

from terrapod_common.errors import TooLarge


async def limited(request: Request[Any, Any, Any], at_most: int) -> AsyncIterator[bytes]:
    """The request's body in chunks; refuses once it is larger than allowed."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > at_most:
        raise TooLarge(f"The body has {announced} bytes, {at_most} are allowed.")
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > at_most:
            raise TooLarge(f"The body has more than the {at_most} bytes that are allowed.")
        yield chunk
