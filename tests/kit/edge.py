"""A listener with limits around a tiny application, and peers that misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketStream

from terrapod_control_plane.web.limits import Limits
from terrapod_control_plane.web.tls import ListeningSocket, serve

QUICK = Limits(handshake=0.3, head=0.3, idle=0.3, stall=0.3, slowest=1024)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = 8 * 1024 * 1024

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class App:
    """`/read` reads the body, `/large` answers much, `/wait` waits for its end; others answer."""

    def __init__(self) -> None:
        self.let_go = anyio.Event()
        self.left = anyio.Event()
        self.entered = 0
        self.headers: list[bytes] = []

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.entered += 1
        if scope["path"] == "/wait":
            await self.let_go.wait()
        if scope["path"] == "/read":
            more = True
            while more:
                message = await receive()
                more = message.get("more_body", False)
                if message["type"] == "http.disconnect":
                    self.left.set()
                    return
        self.headers = [name for name, _ in scope["headers"]]
        body = bytes(LARGE) if scope["path"] == "/large" else b"well"
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body[:-1], "more_body": True})
        await send({"type": "http.response.body", "body": body[-1:]})


@asynccontextmanager
async def serving(
    app: App, limits: Limits = QUICK, agents: ListeningSocket | None = None
) -> AsyncIterator[ListeningSocket]:
    stop, up = anyio.Event(), anyio.Event()
    public = ListeningSocket("127.0.0.1", 0, limits=limits)

    async def run() -> None:
        await serve(app, public, agents, stop=stop, ready=up.set, grace=0.2)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await up.wait()
        yield public
        app.let_go.set()
        stop.set()


async def connect(listener: ListeningSocket) -> SocketStream:
    return await anyio.connect_tcp("127.0.0.1", listener.port)


async def answer(stream: SocketStream) -> bytes:
    """Everything until the server ends the connection, in seconds."""
    found = b""
    with anyio.fail_after(5):
        while True:
            try:
                found += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return found


async def asked(stream: ByteStream) -> None:
    """One request and its answer."""
    await stream.send(GET)
    found = b""
    while not found.endswith(b"well"):
        found += await stream.receive()


async def drips(stream: SocketStream, piece: bytes) -> None:
    """Sends a little again and again, for two seconds or until the server has enough."""
    for _ in range(100):
        await stream.send(piece)
        await anyio.sleep(0.02)


async def sent_forever(stream: SocketStream, piece: bytes, at_most: int) -> int:
    """How many bytes were taken before the server had enough."""
    taken = 0
    while taken < at_most:
        try:
            with anyio.fail_after(5):
                await stream.send(piece)
        except (anyio.BrokenResourceError, TimeoutError):
            break
        taken += len(piece)
    return taken
