"""The two listeners, over real handshakes on loopback."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from terrapod_control_plane.kernel.crypto.authority import (
    Authority,
    KeyPair,
    certificate_der,
    fingerprint,
)
from terrapod_control_plane.web.tls import (
    ListenFailed,
    ListeningSocket,
    Reloadable,
    agent_context,
    public_context,
    serve,
)

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

Send = Callable[[dict[str, Any]], Awaitable[None]]


class App:
    """Answers with the fingerprint of the client; `/slow` waits until it is let go."""

    def __init__(self) -> None:
        self.entered = anyio.Event()
        self.let_go = anyio.Event()

    async def __call__(self, scope: dict[str, Any], receive: object, send: Send) -> None:
        if scope["path"] == "/slow":
            self.entered.set()
            await self.let_go.wait()
        der = scope.get("extensions", {}).get("tls", {}).get("client_cert")
        body = fingerprint(der).encode() if der else b"nobody"
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Terrapod agents", NOW)


@pytest.fixture(scope="module")
def server(authority: Authority) -> KeyPair:
    return authority.issue_server(["localhost", "127.0.0.1"], NOW, days=1)


@asynccontextmanager
async def serving(
    app: App, public: ListeningSocket, agents: ListeningSocket | None = None, grace: float = 5
) -> AsyncIterator[anyio.Event]:
    stop, up = anyio.Event(), anyio.Event()

    async def run() -> None:
        await serve(app, public, agents, stop=stop, ready=up.set, grace=grace)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await up.wait()
        yield stop
        stop.set()


def client(tmp_path: Path, authority: Authority, pair: KeyPair | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.cert_pem.decode())
    if pair is not None:
        path = tmp_path / f"{fingerprint(pair.cert_pem)}.pem"
        path.write_bytes(pair.key_pem + pair.cert_pem)
        context.load_cert_chain(path)
    return context


async def connect(listener: ListeningSocket, context: ssl.SSLContext) -> TLSStream:
    return await anyio.connect_tcp(
        "127.0.0.1", listener.port, ssl_context=context, tls_standard_compatible=False
    )


async def ask(stream: ByteStream, request: bytes = ASK) -> str:
    await stream.send(request)
    answer = b""
    while b"\r\n\r\n" not in answer or answer.endswith(b"\r\n\r\n"):
        answer += await stream.receive()
    assert answer.startswith(b"HTTP/1.1 200")
    return answer.partition(b"\r\n\r\n")[2].decode()


async def ask_once(listener: ListeningSocket, context: ssl.SSLContext) -> str:
    async with await connect(listener, context) as stream:
        return await ask(stream)


async def test_each_listener_sees_who_calls(
    tmp_path: Path, authority: Authority, server: KeyPair
) -> None:
    pair = authority.issue_client_key("listener-1", NOW, DAY)
    public = ListeningSocket("127.0.0.1", 0, public_context(*server))
    agents = ListeningSocket("127.0.0.1", 0, agent_context(*server, authority.cert_pem))
    async with serving(App(), public, agents):
        assert await ask_once(public, client(tmp_path, authority)) == "nobody"
        assert await ask_once(public, client(tmp_path, authority, pair)) == "nobody"
        async with await connect(agents, client(tmp_path, authority, pair)) as stream:
            for _ in range(3):
                assert await ask(stream) == fingerprint(certificate_der(pair.cert_pem))


async def test_plain_http_is_possible_behind_a_proxy() -> None:
    public = ListeningSocket("127.0.0.1", 0)
    async with (
        serving(App(), public),
        await anyio.connect_tcp("127.0.0.1", public.port) as stream,
    ):
        assert await ask(stream) == "nobody"


@pytest.mark.parametrize(
    "who", ["no certificate", "another authority", "expired", "not yet", "old tls"]
)
async def test_agents_without_a_good_certificate_are_refused(
    tmp_path: Path, authority: Authority, server: KeyPair, who: str
) -> None:
    other = Authority.create("another", NOW)
    pairs = {
        "another authority": other.issue_client_key("listener-1", NOW, DAY),
        "expired": authority.issue_client_key("listener-1", NOW - 2 * DAY, DAY),
        "not yet": authority.issue_client_key("listener-1", NOW + DAY / 2, DAY),
        "old tls": authority.issue_client_key("listener-1", NOW, DAY),
    }
    context = client(tmp_path, authority, pairs.get(who))
    if who == "old tls":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    public = ListeningSocket("127.0.0.1", 0)
    agents = ListeningSocket("127.0.0.1", 0, agent_context(*server, authority.cert_pem))
    async with serving(App(), public, agents):
        with pytest.raises((ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError)):
            await ask_once(agents, context)


async def test_certificates_and_authorities_are_replaced_while_running(
    tmp_path: Path, authority: Authority, server: KeyPair
) -> None:
    later = Authority.create("the next", NOW)
    old = client(tmp_path, authority, authority.issue_client_key("listener-1", NOW, DAY))
    pair = later.issue_client_key("listener-1", NOW, DAY)
    new = client(tmp_path, later, pair)
    reloadable = Reloadable(agent_context(*server, authority.cert_pem))
    agents = ListeningSocket("127.0.0.1", 0, reloadable.context)
    async with (
        serving(App(), ListeningSocket("127.0.0.1", 0), agents),
        await connect(agents, old) as before,
    ):
        await ask(before)
        fresh = later.issue_server(["127.0.0.1"], NOW, days=1)
        reloadable.replace(agent_context(*fresh, later.cert_pem))
        assert await ask_once(agents, new) == fingerprint(certificate_der(pair.cert_pem))
        # Trusts the new server, but shows the certificate of the old authority.
        old.load_verify_locations(cadata=later.cert_pem.decode())
        with pytest.raises((ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError)):
            await ask_once(agents, old)
        await ask(before)


async def test_no_session_can_be_resumed(
    tmp_path: Path, authority: Authority, server: KeyPair
) -> None:
    context = client(tmp_path, authority, authority.issue_client_key("listener-1", NOW, DAY))
    agents = ListeningSocket("127.0.0.1", 0, agent_context(*server, authority.cert_pem))
    async with (
        serving(App(), ListeningSocket("127.0.0.1", 0), agents),
        await connect(agents, context) as stream,
    ):
        await ask(stream)
        session = stream.extra(TLSAttribute.ssl_object).session
        assert session is None or not session.has_ticket


async def test_an_idle_peer_does_not_hold_up_the_stop(
    tmp_path: Path, authority: Authority, server: KeyPair
) -> None:
    public = ListeningSocket("127.0.0.1", 0, public_context(*server))
    async with serving(App(), public, grace=20) as stop:
        # Nobody reads from this connection any more, so it never answers the goodbye.
        idle = await connect(public, client(tmp_path, authority))
        await ask(idle)
        began = monotonic()
        stop.set()
    assert monotonic() - began < 5
    await anyio.aclose_forcefully(idle)


async def test_a_request_in_flight_is_finished() -> None:
    app, public = App(), ListeningSocket("127.0.0.1", 0)
    async with serving(app, public) as stop, anyio.create_task_group() as group:
        stream = await anyio.connect_tcp("127.0.0.1", public.port)

        async def slow() -> None:
            assert await ask(stream, ASK.replace(b"GET /", b"GET /slow")) == "nobody"
            await stream.aclose()

        group.start_soon(slow)
        await app.entered.wait()
        stop.set()
        app.let_go.set()


async def test_a_request_that_never_ends_is_left_after_the_grace() -> None:
    app, public = App(), ListeningSocket("127.0.0.1", 0)
    async with serving(app, public, grace=0.3) as stop:
        stream = await anyio.connect_tcp("127.0.0.1", public.port)
        await stream.send(ASK.replace(b"GET /", b"GET /slow"))
        await app.entered.wait()
        began = monotonic()
        stop.set()
    assert monotonic() - began < 5
    await anyio.aclose_forcefully(stream)


async def test_a_cancelled_server_gives_its_port_back() -> None:
    public = ListeningSocket("127.0.0.1", 0)
    async with anyio.create_task_group() as group:
        up, stop = anyio.Event(), anyio.Event()

        async def run() -> None:
            await serve(App(), public, None, stop=stop, ready=up.set, grace=5)

        group.start_soon(run)
        await up.wait()
        group.cancel_scope.cancel()
    again = ListeningSocket("127.0.0.1", public.port)
    again.bind()
    again.close()


async def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenFailed, match=rf"port {port} on 127\.0\.0\.1 is in use"):
            await serve(
                App(),
                ListeningSocket("127.0.0.1", 0),
                ListeningSocket("127.0.0.1", port),
                stop=anyio.Event(),
                ready=lambda: None,
                grace=1,
            )


async def test_a_foreign_address_is_named() -> None:
    with pytest.raises(ListenFailed, match="no such address"):
        ListeningSocket("192.0.2.1", 0).bind()
