"""One connection of a door: one request, one answer, and limits on all of it."""

from collections.abc import AsyncIterable, Sequence

import anyio
import h11
from anyio.abc import ByteStream
from msgspec import Struct

from terrapod_agent.door.responses import RequestRefused, Response

_LARGEST_HEAD = 16 * 1024
_LARGEST_BODY = 1024 * 1024
_BLOCK = 16 * 1024


class Timeouts(Struct, frozen=True, kw_only=True):
    """How long a client may take, in seconds."""

    head: float = 10.0  # for its request's first lines
    body: float = 10.0
    block: float = 30.0  # to take one block of the answer


class Request(Struct, frozen=True, kw_only=True):
    """What is asked. Nothing else of a request is looked at."""

    method: str
    target: str
    bearer: str


class ClientGone(Exception):
    """The client has left without asking for anything."""


class Connection:
    """A client that may ask once; keeping connections would keep places that others wait for."""

    def __init__(self, stream: ByteStream, times: Timeouts) -> None:
        self._stream = stream
        self._times = times
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD)
        self._method = b""
        self.response_started = False  # an answer is under way, so no other one can be given

    async def read_request(self) -> Request:
        """The request, without its body, which counts for nothing here."""
        try:
            with anyio.fail_after(self._times.head):
                request = await self._event()
        except h11.RemoteProtocolError as error:
            raise RequestRefused(
                error.error_status_hint, f"This is no HTTP request: {error}"
            ) from error
        if not isinstance(request, h11.Request):
            raise ClientGone
        self._method = request.method
        return Request(
            method=request.method.decode("ascii"),
            target=request.target.decode("ascii"),
            bearer=_bearer(request),
        )

    async def skip_body(self) -> None:
        """Read to the end of the request: a client that still writes would not read the answer."""
        if self._http.they_are_waiting_for_100_continue:
            return
        size = 0
        try:
            with anyio.fail_after(self._times.body):
                while isinstance(event := await self._event(), h11.Data):
                    size += len(event.data)
                    if size > _LARGEST_BODY:
                        raise RequestRefused(413, f"At most {_LARGEST_BODY} bytes are taken here.")
        except h11.RemoteProtocolError as error:
            raise RequestRefused(400, f"This is no HTTP request: {error}") from error

    async def send(self, answer: Response) -> None:
        """A whole answer."""
        length = ("Content-Length", str(len(answer.body)))
        await self._begin(answer.status, [*answer.header_list(), length])
        await self._write(answer.body)
        await self._end()

    async def stream(self, answer: Response, chunks: AsyncIterable[bytes]) -> None:
        """An answer whose body comes in pieces; one that breaks off is seen to have done so."""
        head = answer.header_list()
        head.append(("Content-Type", answer.content_type))
        await self._begin(answer.status, head)
        async for chunk in chunks:
            await self._write(chunk)
        await self._end()

    async def _begin(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self.response_started = True
        response = h11.Response(status_code=status, headers=[*headers, ("Connection", "close")])
        await self._put(self._http.send(response))

    async def _write(self, body: bytes) -> None:
        if self._method != b"HEAD":
            for at in range(0, len(body), _BLOCK):
                await self._put(self._http.send(h11.Data(body[at : at + _BLOCK])))

    async def _end(self) -> None:
        await self._put(self._http.send(h11.EndOfMessage()))

    async def _put(self, data: bytes | None) -> None:
        if data:
            with anyio.fail_after(self._times.block):
                await self._stream.send(data)

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            try:
                data = await self._stream.receive(_BLOCK)
            except anyio.EndOfStream:
                data = b""
            self._http.receive_data(data)
        return event


def _bearer(request: h11.Request) -> str:
    shown = [value for name, value in request.headers if name == b"authorization"]
    if len(shown) != 1:
        return ""
    scheme, _, token = shown[0].decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
