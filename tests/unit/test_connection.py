"""What a stranger can do to a connection: each of it ends soon, and costs little."""

from __future__ import annotations

import json
import socket
from time import monotonic
from typing import Any

import anyio
import pytest

from tests.kit.edge import CHUNKED, GET, LARGE, App, answer, connect, drips, sent_forever, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """What the server runs on."""
    return "asyncio", {"use_uvloop": True}


async def test_a_head_that_never_ends_is_refused_while_it_arrives() -> None:
    async with serving(App()) as public, await connect(public) as stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        taken = await sent_forever(stream, b"a" * 65536, 64 * 1024 * 1024)
        assert taken < 16 * 1024 * 1024  # what the kernel's buffers hold, on both sides


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 66_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 66_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 11_000 + b"\r\n",
    ],
    ids=["header", "url", "headers"],
)
async def test_a_head_that_is_too_large_is_431(head: bytes) -> None:
    app = App()
    async with serving(app) as public, await connect(public) as stream:
        await stream.send(head)
        found = await answer(stream)
    assert found.startswith(b"HTTP/1.1 431 ")
    problem = json.loads(found.partition(b"\r\n\r\n")[2])["errors"][0]
    assert problem["status"] == "431"
    assert app.entered == 0


async def test_a_head_of_nearly_the_limit_is_read() -> None:
    async with serving(App()) as public, await connect(public) as stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 65_000 + b"\r\n\r\n")
        assert b"well" in await answer(stream)


@pytest.mark.parametrize("garbage", [b"\0" * 40, b"\x16\x03\x01\x02", b"GET / HTTP/9\r\n\r\n"])
async def test_garbage_is_400(garbage: bytes) -> None:
    app = App()
    async with serving(app) as public, await connect(public) as stream:
        await stream.send(garbage)
        found = await answer(stream)
    assert found.startswith(b"HTTP/1.1 400 ")
    assert app.entered == 0


@pytest.mark.parametrize("drip", [b"a", b"\r\n"])
async def test_a_slow_head_is_cut(drip: bytes) -> None:
    async with serving(App()) as public, await connect(public) as stream:
        await stream.send(b"GET / HTTP/1.1\r\nX: " if drip == b"a" else drip)
        began = monotonic()
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await drips(stream, drip)
        assert monotonic() - began < 1.5


@pytest.mark.parametrize("first", [b"", GET], ids=["never used", "used once"])
async def test_an_idle_connection_ends(first: bytes) -> None:
    async with serving(App()) as public, await connect(public) as stream:
        began = monotonic()
        await stream.send(first)
        await answer(stream)
        assert monotonic() - began < 1.5


async def test_empty_lines_do_not_keep_a_connection() -> None:
    async with serving(App()) as public, await connect(public) as stream:
        await stream.send(GET)
        began = monotonic()
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await drips(stream, b"\r\n")
        assert monotonic() - began < 1.5


@pytest.mark.parametrize("pause", [10, 0.05], ids=["stands still", "too slow"])
async def test_a_slow_body_is_cut_and_the_application_told(pause: float) -> None:
    app = App()
    async with serving(app) as public, await connect(public) as stream:
        await stream.send(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n")
        began = monotonic()
        async with anyio.create_task_group() as tasks:

            async def drip() -> None:
                while True:
                    await stream.send(b"a")
                    await anyio.sleep(pause)

            tasks.start_soon(drip)
            with anyio.fail_after(3):
                await app.left.wait()
            tasks.cancel_scope.cancel()
        assert monotonic() - began < 2


async def test_a_body_that_moves_is_waited_for() -> None:
    async with serving(App()) as public, await connect(public) as stream:
        await stream.send(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n")
        for _ in range(10):
            await stream.send(b"a" * 1000)
            await anyio.sleep(0.1)
        assert b"well" in await answer(stream)


@pytest.mark.parametrize("endless", [b"1;" + b"x" * 1000, b"0\r\nX: " + b"a" * 1000])
async def test_what_is_neither_head_nor_body_is_bounded_too(endless: bytes) -> None:
    async with serving(App()) as public, await connect(public) as stream:
        await stream.send(CHUNKED + endless)
        assert await sent_forever(stream, b"a" * 65536, 64 * 1024 * 1024) < 16 * 1024 * 1024


async def test_a_trailer_is_no_header() -> None:
    app = App()
    async with serving(app) as public, await connect(public) as stream:
        await stream.send(CHUNKED + b"1\r\na\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
        assert b"well" in await answer(stream)
    assert b"authorization" not in app.headers


async def test_another_protocol_is_not_offered() -> None:
    upgrade = b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with serving(App()) as public, await connect(public) as stream:
        await stream.send(GET.replace(b"\r\n\r\n", upgrade) + b"PRI * HTTP/2.0\r\n\r\nSM")
        found = await answer(stream)
    assert found.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in found


async def test_a_thousand_requests_at_once_are_too_many() -> None:
    app = App()
    async with serving(app) as public, await connect(public) as stream:
        await stream.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + GET * 2000)
        await answer(stream)
        assert app.entered == 1
        app.let_go.set()


async def test_who_reads_nothing_is_left() -> None:
    app = App()
    async with serving(app) as public, await connect(public) as stream:
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        await stream.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await anyio.sleep(1.5)
        assert len(await answer(stream)) < LARGE


async def test_who_reads_slowly_gets_all_of_it() -> None:
    async with serving(App()) as public, await connect(public) as stream:
        await stream.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        found = 0
        while found < LARGE:
            found += len(await stream.receive(256 * 1024))
            await anyio.sleep(0.02)


async def test_a_body_that_nobody_wants_is_thrown_away() -> None:
    async with serving(App()) as public, await connect(public) as stream:
        length = 4 * 1024 * 1024
        await stream.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
        await stream.send(bytes(length))
        await stream.send(GET)  # and the connection is good for another
        assert (await answer(stream)).count(b"well") == 2


async def test_an_endless_body_that_nobody_wants_is_not_read_for_ever() -> None:
    async with serving(App()) as public, await connect(public) as stream:
        await stream.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % 2**40)
        taken = await sent_forever(stream, bytes(262_144), 256 * 1024 * 1024)
        assert taken < 64 * 1024 * 1024
