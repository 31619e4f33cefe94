"""Who gets a connection when there are few, and what is left of those that were cut."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import subprocess
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest
import structlog

from terrapod_control_plane.kernel.crypto.authority import Authority
from terrapod_control_plane.settings import ServerSettings
from terrapod_control_plane.web.connection import LimitedProtocol
from terrapod_control_plane.web.limits import Limits, of_ports, place_of
from terrapod_control_plane.web.tls import ListeningSocket, agent_context
from tests.kit.edge import GET, QUICK, App, answer, asked, connect, serving

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """What the server runs on."""
    return "asyncio", {"use_uvloop": True}


async def test_who_waits_longest_gives_way_and_who_works_does_not() -> None:
    app = App()
    limits = Limits(connections=3)
    async with serving(app, limits) as public, AsyncExitStack() as streams:
        working = await streams.enter_async_context(await connect(public))
        await working.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        idle = [await streams.enter_async_context(await connect(public)) for _ in range(20)]
        newest = idle[-1]
        await newest.send(GET)
        assert b"200 OK" in await newest.receive()
        for one in idle[:-2]:
            assert await answer(one) == b""
        app.let_go.set()
        assert b"200 OK" in await working.receive()


async def test_where_all_work_a_newcomer_is_refused_at_once() -> None:
    app = App()
    async with serving(app, Limits(connections=2)) as public, AsyncExitStack() as streams:
        for _ in range(2):
            stream = await streams.enter_async_context(await connect(public))
            await stream.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        with anyio.fail_after(2):
            while app.entered < 2:  # noqa: ASYNC110 - what happens is on another connection
                await anyio.sleep(0.01)
        with structlog.testing.capture_logs() as lines:
            for _ in range(5):
                late = await streams.enter_async_context(await connect(public))
                assert await answer(late) == b""
        app.let_go.set()
    told = [line for line in lines if line["event"] == "all connections are taken"]
    assert len(told) == 1  # a crowd is told once, not each of it
    assert (told[0]["port"], told[0]["connections"], told[0]["made_room"]) == ("public", 2, False)


async def test_one_address_has_no_more_than_its_share() -> None:
    alone = Limits(connections=100, per_address=3)
    shared = Limits(connections=100, per_address=3, proxies=[ip_network("127.0.0.0/8")])
    for limits, left in ((alone, 7), (shared, 0)):
        async with serving(App(), limits) as public, AsyncExitStack() as streams:
            opened = [await streams.enter_async_context(await connect(public)) for _ in range(10)]
            await opened[-1].send(GET)
            assert b"200 OK" in await opened[-1].receive()
            ended = 0
            for one in opened[:-1]:
                with anyio.move_on_after(0.1):
                    ended += await answer(one) == b""
            assert ended == left


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("Terrapod agents", NOW)


def port_of_agents(authority: Authority, limits: Limits) -> ListeningSocket:
    pair = authority.issue_server(["127.0.0.1"], NOW, days=1)
    context = agent_context(*pair, authority.cert_pem)
    return ListeningSocket("127.0.0.1", 0, context, limits=limits)


def agent(authority: Authority, folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.cert_pem.decode())
    pair = authority.issue_client_key("listener-1", NOW, timedelta(days=1))
    path = folder / "agent.pem"
    path.write_bytes(pair.key_pem + pair.cert_pem)
    context.load_cert_chain(path)
    return context


async def test_strangers_on_the_agent_port_give_way_to_agents(
    tmp_path: Path, authority: Authority
) -> None:
    limits = Limits(connections=4, of_agents=True, handshake=30)
    agents, trusted = port_of_agents(authority, limits), agent(authority, tmp_path)
    async with serving(App(), QUICK, agents), AsyncExitStack() as streams:
        known = await anyio.connect_tcp("127.0.0.1", agents.port, ssl_context=trusted)
        await asked(known)
        for _ in range(30):
            await streams.enter_async_context(await connect(agents))
        again = await anyio.connect_tcp("127.0.0.1", agents.port, ssl_context=trusted)
        for one in (known, again):
            await asked(one)
            await anyio.aclose_forcefully(one)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x05\x00\x01"])
async def test_a_handshake_that_does_not_come_to_an_end_is_ended(
    authority: Authority, said: bytes
) -> None:
    agents = port_of_agents(authority, Limits(handshake=0.3, of_agents=True))
    async with serving(App(), QUICK, agents), await connect(agents) as stream:
        began = monotonic()
        await stream.send(said)
        await answer(stream)
        assert monotonic() - began < 2


async def test_no_files_left_is_a_pause_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = [OSError(24, "Too many open files"), OSError(103, "aborted")]
    loop = asyncio.get_running_loop()
    accept = loop.sock_accept

    async def sock_accept(listening: socket.socket) -> Any:
        if refused:
            raise refused.pop()
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", sock_accept)
    async with serving(App()) as public, await connect(public) as stream:
        await stream.send(GET)
        assert b"200 OK" in await stream.receive()
    assert not refused


# --- what is left ---------------------------------------------------------------------------------


def alive() -> int:
    gc.collect()
    return sum(isinstance(found, LimitedProtocol) for found in gc.get_objects())


def cut(port: int, request: bytes, read: int = 1) -> None:
    """Asks, reads a little of the answer, and is gone without a word."""
    with socket.create_connection(("127.0.0.1", port)) as leaving:
        leaving.sendall(request)
        if read:
            leaving.recv(read)
        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize("path", [b"/", b"/large", b"/wait", b"/read"])
async def test_cut_connections_leave_nothing_behind(path: bytes) -> None:
    app = App()
    request = GET.replace(b"GET / ", b"POST " + path + b" ")
    if path == b"/read":
        request = request.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n")
    async with serving(app, Limits()) as public:
        before = alive()
        for _ in range(300):
            waits = path in (b"/wait", b"/read")
            await anyio.to_thread.run_sync(cut, public.port, request, 0 if waits else 1)
        app.let_go.set()
        with anyio.fail_after(5):
            while alive() > before:  # noqa: ASYNC110 - memory tells nobody
                await anyio.sleep(0.05)


# --- how many -------------------------------------------------------------------------------------


def test_both_ports_fit_into_the_files_that_may_be_open() -> None:
    for files in (256, 1024, 65_536, 1_048_576):
        people, agents = of_ports(ServerSettings(), files, pool=12)
        assert 2 * (people.connections + agents.connections) + 12 + 64 <= files
        assert agents.connections >= people.connections
    tight, _ = of_ports(ServerSettings(connections_at_most=10), 1024, pool=12)
    assert tight.connections == 10


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", "None"),
    ],
)
def test_whose_connections_are_counted(address: str, place: str) -> None:
    assert str(place_of(address)) == place


def test_the_soft_limit_of_open_files_is_raised() -> None:
    code = "from terrapod_control_plane.web import limits; print(limits.raise_open_files())"
    command = ["prlimit", "--nofile=100:500", sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "500"
