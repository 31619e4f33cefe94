"""The two listeners: TLS contexts that reload, client certificates in the scope, a quiet stop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import anyio
import uvicorn

from terrapod_control_plane.web.acceptor import Acceptor
from terrapod_control_plane.web.connection import LimitedProtocol
from terrapod_control_plane.web.limits import Limits

_BACKLOG = 2048
# How long the tasks of connections that were cut may take to end.
_GOODBYE = 0.5


class ListenFailed(Exception):
    """The address cannot be listened on; the message says why."""


def public_context(cert_pem: bytes, key_pem: bytes) -> ssl.SSLContext:
    """A server context that asks for no client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    # OpenSSL reads certificates of its own from files only.
    with tempfile.NamedTemporaryFile(prefix="terrapod-", suffix=".pem") as file:
        file.write(key_pem.rstrip() + b"\n" + cert_pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def agent_context(cert_pem: bytes, key_pem: bytes, ca_pem: bytes) -> ssl.SSLContext:
    """A server context that lets in holders of a certificate of these authorities only."""
    context = public_context(cert_pem, key_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    # A resumed session would not look at the authorities again.
    context.num_tickets = 0
    return context


class Reloadable:
    """A context whose certificates and authorities can be replaced; open connections go on."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._current = context
        context.sni_callback = self._choose

    def replace(self, context: ssl.SSLContext) -> None:
        """Uses the other context, made by the same function, from the next handshake on."""
        self._current = context

    # OpenSSL calls this for clients without SNI as well.
    def _choose(self, tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        tls.context = self._current


class ListeningSocket:
    """An address that is listened on; port 0 takes a free one."""

    def __init__(
        self,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None = None,
        *,
        limits: Limits | None = None,
    ) -> None:
        self.host = host
        self.ssl_context = ssl_context
        self.limits = limits or Limits()
        self._port = port
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The real port once bound."""
        return self._port

    def bind(self) -> socket.socket:
        """Takes the port, once; clients that connect now wait until `serve` accepts them."""
        if self._socket is None:
            try:
                self._socket = _listening(self.host, self._port)
            except OSError as error:
                raise ListenFailed(_complaint(self.host, self._port, error)) from error
            self._port = self._socket.getsockname()[1]
        return self._socket

    def close(self) -> None:
        """Gives the port back."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _listening(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            # The unspecified address means IPv4 too, whatever the system's default is.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _complaint(host: str, port: int, error: OSError) -> str:
    where = f"port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use: stop the program that listens there, or choose another port"
    if error.errno == errno.EACCES:
        return f"{where} may not be used by this user: choose a port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {where}: this machine has no such address"
    return f"cannot listen on {where}: {error.strerror or os.strerror(error.errno or 0)}"


class QuietServer(uvicorn.Server):
    """A uvicorn server that leaves signals alone, accepts by itself, and ends for good."""

    def __init__(self, config: uvicorn.Config, listener: ListeningSocket) -> None:
        super().__init__(config)
        self.accepting = anyio.Event()
        self.servers = []
        self.acceptor = Acceptor(listener.limits, listener.ssl_context, self._guest)
        self._limits = listener.limits

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals belong to the program, which may run several servers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Ready for what the acceptor brings."""
        self.started = True
        self.accepting.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Waits for the requests in flight, then leaves no task and no connection behind."""
        self.acceptor.close()
        await super().shutdown(sockets)
        self.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_GOODBYE)

    def abort(self) -> None:
        """Ends acceptance and connections at once."""
        self.acceptor.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _guest(self) -> LimitedProtocol:
        guest = LimitedProtocol(self.config, self.server_state, app_state={})
        guest.limits = self._limits
        return guest


async def serve(
    app: Any,
    public: ListeningSocket,
    agents: ListeningSocket | None,
    *,
    stop: anyio.Event,
    ready: Callable[[], None],
    grace: float,
) -> None:
    """Serves the app on both listeners until `stop`; requests in flight get `grace` seconds.

    The app's lifespan is the caller's. Raises ListenFailed.
    """
    listeners = [public] if agents is None else [public, agents]
    servers = [QuietServer(_config(app, grace), listener) for listener in listeners]
    try:
        sockets = [listener.bind() for listener in listeners]
        async with anyio.create_task_group() as group:
            for server, bound in zip(servers, sockets, strict=True):
                group.start_soon(server.serve, [bound])
            for server, bound in zip(servers, sockets, strict=True):
                await server.accepting.wait()
                group.start_soon(server.acceptor.run, bound)
            ready()
            await stop.wait()
            _request_end(servers)
    finally:
        for server in servers:
            server.abort()
        for listener in listeners:
            listener.close()


def _request_end(servers: Sequence[QuietServer]) -> None:
    for server in servers:
        server.should_exit = True


def _config(app: Any, grace: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        interface="asgi3",
        loop="none",
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Which proxies are believed is a setting of ours.
        proxy_headers=False,
        # Annotated as int, but handed to asyncio.wait_for.
        timeout_graceful_shutdown=cast("int", grace),
    )
