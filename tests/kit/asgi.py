"""A tiny ASGI application over uvicorn that knows who its TLS peer is."""

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import anyio
import uvicorn
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Question(Struct):
    """A request, read whole."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    headers: Mapping[str, str] = {}


class Answer(Struct):
    """A response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class Peer(Struct):
    """Who asks."""

    certificate: bytes

    @property
    def fingerprint(self) -> bytes:
        """What the certificate is known by."""
        return sha256(self.certificate).digest()


class Reset(Exception):
    """Raised by a handler: the connection ends without an answer."""


Handler = Callable[[Question, Peer], Awaitable[Answer]]


def application(handler: Handler) -> Any:
    """An ASGI application around one function; a client that leaves ends its handler."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        peer = Peer(scope["extensions"]["peer"])
        question = await _question(scope, receive)
        with anyio.CancelScope() as left:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_watch, receive, left)
                try:
                    answer = await handler(question, peer)
                except Reset:
                    scope["extensions"]["abort"]()
                    left.cancel()
                    return
                await _send(send, answer)
                tasks.cancel_scope.cancel()

    return app


@asynccontextmanager
async def serve(app: Any, context: ssl.SSLContext, port: int) -> AsyncIterator[int]:
    """Serve on loopback; the connections are cut when it ends, as by a crash."""
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sets no delay only for this
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(
        app,
        http=_Protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,  # as the real one
        ssl_context_factory=lambda _config, _default: context,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    async with _closing(listener), anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        while not server.started:  # noqa: ASYNC110 - uvicorn has nothing else to tell
            await anyio.sleep(0.005)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            for connection in list(server.server_state.connections):
                connection.transport.abort()


@asynccontextmanager
async def _closing(listener: socket.socket) -> AsyncIterator[None]:
    try:
        yield
    finally:
        listener.close()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        certificate = secured.getpeercert(True) if secured else None
        inner = self.app

        async def outer(scope: Any, receive: Any, send: Any) -> None:
            scope["extensions"] = {"peer": certificate or b"", "abort": transport.abort}
            await inner(scope, receive, send)

        self.app = outer


async def _question(scope: Any, receive: Any) -> Question:
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    query = dict(parse_qsl(scope["query_string"].decode()))
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    return Question(scope["method"], scope["path"], query, bytes(body), headers)


async def _watch(receive: Any, left: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    left.cancel()


async def _send(send: Any, answer: Answer) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
