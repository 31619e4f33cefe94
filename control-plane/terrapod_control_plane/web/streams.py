"""Bodies that are never held whole."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException
from litestar.response import Stream
from msgspec.json import encode

from terrapod_control_plane.kernel.errors import BadRequest, TooLarge
from terrapod_control_plane.kernel.jsonapi import Resource, dump_one, present


async def streamed(
    chunks: AsyncIterator[bytes],
    media_type: str = "application/octet-stream",
    headers: Mapping[str, str] | None = None,
) -> Stream:
    """Bytes as they come. The first are there before the answer begins, so a content that is
    missing or damaged is an error, and no answer that breaks off.
    """
    first = await anext(chunks, b"")

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return Stream(all_of_them(), media_type=media_type, headers=dict(headers or {}))


async def documents(some: AsyncIterator[Sequence[object]], into: type[Resource]) -> Stream:
    """A list of resources as it is made, for one that may be very long."""

    async def texts() -> AsyncIterator[bytes]:
        yield b'{"data":['
        between = b""
        async for models in some:
            texts = [encode(dump_one(present(model, into))) for model in models]
            yield between + b",".join(texts)
            between = b","
        yield b"]}"

    return await streamed(texts(), "application/json")


async def limited(request: Request[Any, Any, Any], at_most: int) -> AsyncIterator[bytes]:
    """The request's body in chunks; refuses once it is larger than allowed."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > at_most:
        raise TooLarge(f"The body has {announced} bytes, {at_most} are allowed.")
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > at_most:
                raise TooLarge(f"The body has more than the {at_most} bytes that are allowed.")
            yield chunk
    except InternalServerException:
        # What Litestar says when a client leaves; not a mistake of ours.
        raise BadRequest(f"The body ended after {received} bytes.") from None
