"""What a run may do to its door: little, and nothing to its agent."""

import contextlib
import json
import os
import re
import resource
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from terrapod_agent.door.connection import Timeouts
from terrapod_agent.door.door import DoorLimits
from terrapod_agent.door.hosts import hosts_for_terraform
from terrapod_agent.door.rate_limit import RateLimiter
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, phase
from tests.kit.doors import Caller, answer, door_of
from tests.kit.scripted_terraform import script

pytestmark = pytest.mark.anyio

PING = "GET /api/v2/ping HTTP/1.1\nHost: a\nAuthorization: Bearer PASSWORD\n"
SHORT = DoorLimits(connections=4, times=Timeouts(head=0.3, body=0.3, block=0.3))


@pytest.fixture
async def caller(server: AgentServer, data: Path) -> AsyncIterator[Caller]:
    async with door_of(server, data, server.add(phase("plan")), SHORT) as caller:
        yield caller
        # Whatever was sent, it still serves.
        assert (await caller.get("/api/v2/ping")).status == 204


STRANGE = [
    ("nonsense\n\n", 400),
    ("\x16\x03\x01\x02\x00\x01", 400),  # the start of a TLS handshake
    ("GET /api/v2/ping\n\n", 400),
    ("GET /api/v2/ping HTTP/1.1\n\n", 400),
    (f"{PING}Host: b\n\n", 400),
    (f"{PING}Bad Header: x\n\n", 400),
    (f"{PING}X: a\rb\n\n", 400),
    (f"{PING}Content-Length: 3\nContent-Length: 4\n\nabc", 400),
    (f"{PING}Content-Length: -1\n\n", 400),
    (f"{PING}Content-Length: x\n\n", 400),
    (f"{PING}Transfer-Encoding: gzip\n\n", 501),
    (f"{PING}Transfer-Encoding: chunked\n\nzz\nabc\n", 400),
    (f"{PING}Transfer-Encoding: chunked\nContent-Length: 5\n\n0\n\n", 204),
    (f"{PING}Content-Length: 3\n\nabc", 204),
    (f"{PING}Expect: 100-continue\nContent-Length: 3\n\n", 204),
    (f"{PING}Connection: Upgrade\nUpgrade: websocket\n\n", 204),
    (f"{PING}X: {'a' * 60_000}\n\n", 431),
    (f"{PING}{''.join(f'X{n}: a{chr(10)}' for n in range(12_000))}\n", 431),
    (f"{PING}Content-Length: 99999999\n\n{'x' * 1_100_000}", 413),
    ("CONNECT 127.0.0.1:22 HTTP/1.1\nHost: a\nAuthorization: Bearer PASSWORD\n\n", 403),
]


async def test_only_the_user_of_the_run_is_let_in(server: AgentServer, data: Path) -> None:
    """And what comes from others keeps no place, and costs no more than a look."""
    plan = server.add(phase("plan"))
    uid = os.getuid()
    async with door_of(server, data, plan, SHORT, guest=lambda: uid) as caller:
        assert (await caller.get("/api/v2/ping")).status == 204
        uid += 1
        strangers = [await caller.get("/api/v2/ping") for _ in range(200)]
        assert {told.status for told in strangers} == {0}
        uid -= 1
        assert (await caller.get("/api/v2/ping")).status == 204


async def test_strange_requests_are_answered_or_cut(caller: Caller) -> None:
    for request, status in STRANGE:
        told = await caller.raw(caller.with_password(request))
        assert told.status == status, request[:80]
        assert (await caller.get("/api/v2/ping")).status == 204


async def test_a_second_request_on_a_connection_is_not_read(caller: Caller) -> None:
    told = await caller.raw(caller.with_password(f"{PING}\n{PING}\n"))
    assert (told.status, told.headers["connection"], told.body) == (204, "close", b"")


async def test_who_says_nothing_keeps_no_place(caller: Caller) -> None:
    silent = [await anyio.connect_tcp("127.0.0.1", caller.port) for _ in range(8)]
    for stream in silent[::2]:
        await stream.send(b"GET /api/v2/ping HTTP/1.1\r\nX")
    with anyio.fail_after(10):
        assert (await caller.get("/api/v2/ping")).status == 204
        for stream in silent:
            assert (await answer(stream)).status == 0
            await stream.aclose()


async def test_a_body_that_dribbles_is_cut(caller: Caller) -> None:
    async with await anyio.connect_tcp("127.0.0.1", caller.port) as stream:
        await stream.send(caller.with_password(f"{PING}Content-Length: 1000\n\n"))
        with anyio.fail_after(5):
            assert await _dribbled(stream) < 1000


async def _dribbled(stream: SocketStream) -> int:
    """How many bytes are taken before the connection is cut."""
    taken = 0
    try:
        while True:
            await stream.send(b"x")
            taken += 1
            with anyio.move_on_after(0.02):
                await stream.receive()
    except (anyio.BrokenResourceError, anyio.EndOfStream):
        return taken


async def test_who_does_not_take_the_answer_keeps_no_place(
    server: AgentServer, caller: Caller
) -> None:
    server.shared_state = b'{"big":"' + b"x" * 60_000_000 + b'"}'
    current = await caller.get("/api/v2/workspaces/ws-1111111111111111/current-state-version")
    url = json.loads(current.body)["data"]["attributes"]["hosted-state-download-url"]
    streams = [await anyio.connect_tcp("127.0.0.1", caller.port) for _ in range(4)]
    for stream in streams:
        await stream.send(f"GET {url} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    with anyio.fail_after(20):
        assert (await caller.get("/api/v2/ping")).status == 204
    for stream in streams:
        await stream.aclose()


def _highest_file() -> int:
    return max(int(path.name) for path in Path("/proc/self/fd").iterdir())


async def test_a_door_outlives_a_machine_without_files(server: AgentServer, data: Path) -> None:
    async with door_of(server, data, server.add(phase("plan"))) as caller:
        stream = await anyio.connect_tcp("127.0.0.1", caller.port)
        kept = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (_highest_file() + 10, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(os.dup(0))
            os.close(kept.pop())
            with contextlib.suppress(OSError):
                kept_one = await anyio.connect_tcp("127.0.0.1", caller.port)
                await anyio.sleep(0.2)
                await kept_one.aclose()
        finally:
            for one in kept:
                os.close(one)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await stream.aclose()
        with anyio.fail_after(5):
            assert (await caller.get("/api/v2/ping")).status == 204


async def test_a_budget_lets_some_go_at_once_and_the_rest_in_time() -> None:
    budget = RateLimiter(10, 100)
    started = time.monotonic()
    for _ in range(10):
        await budget.acquire()
    assert time.monotonic() - started < 0.05
    for _ in range(20):
        await budget.acquire()
    assert time.monotonic() - started >= 0.19


def test_only_names_that_terraform_takes_are_told() -> None:
    names = [
        *("terrapod.example.com", "Terrapod.Example.com:443", "localhost:8443", "127.0.0.1:1"),
        *("[::1]:8443", "a_b.example.com", "xn--mnchen-3ya.de", "host-.example.com", "ab--c.de"),
        *('x" {}', "", "a b", "a:0", "-a", "a..b", "m\u00fcnchen.de", "a:99999999", "a" * 64),
    ]
    hosts = hosts_for_terraform(names, "http://127.0.0.1:1/api/v2", "p")
    assert [host.name for host in hosts] == [
        "terrapod.example.com",
        "localhost:8443",
        "127.0.0.1:1",
    ]
    assert {url for host in hosts for url in host.services.values()} == {
        "http://127.0.0.1:1/api/v2/"
    }


HAMMER = """
import socket, sys, threading, time
port, password, end = int(sys.argv[1]), sys.argv[2], time.monotonic() + float(sys.argv[3])
lines = ["GET /api/v2/ping HTTP/1.1", "Host: a", "Authorization: Bearer " + password, ""]
head = "\\r\\n".join(lines).encode()

def flood():
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as one:
                one.sendall(head + b"\\r\\n")
                one.recv(1000)
        except OSError:
            pass

def dribble():
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as one:
                one.sendall(head + b"Content-Length: 1000000\\r\\n\\r\\n")
                while time.monotonic() < end:
                    one.sendall(b"x" * 100)
                    time.sleep(0.01)
        except OSError:
            pass

threads = [threading.Thread(target=what) for what in [flood] * 20 + [dribble] * 20]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


async def test_a_run_that_hammers_its_door_does_not_delay_its_agent(
    server: AgentServer, process: AgentProcess, tmp_path: Path
) -> None:
    server.every = 0.1
    seen, go = tmp_path / "environment", tmp_path / "go"
    steps = [["environment", str(seen)], ["wait", str(go)]]
    plan = server.add(phase("plan", script(plan=steps)))
    process.start()
    await server.until(seen.exists)
    config = anyio.Path(json.loads(await anyio.Path(seen).read_text())["TF_CLI_CONFIG_FILE"])
    assert (await config.stat()).st_mode & 0o777 == 0o600
    text = await config.read_text()
    port = re.findall(r"http://127\.0\.0\.1:(\d+)/", text)[0]
    password = re.findall(r'token = "(.*)"', text)[0]
    before, started, used = len(server.heartbeats), time.monotonic(), process.cpu_seconds()
    await anyio.run_process([sys.executable, "-c", HAMMER, port, password, "4"])
    took = time.monotonic() - started
    assert took >= 4
    assert used < 0.3 * took  # without a limit it is all that the run can make it work
    used = process.cpu_seconds() - used
    assert len(server.heartbeats) - before >= took / 0.5
    go.touch()
    await server.until(lambda: plan.ended)
    assert plan.status == "planned"
