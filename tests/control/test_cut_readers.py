"""Clients that leave in the middle of an answer, or before one: nothing of them stays."""

import asyncio
import gc
import os
import socket
import ssl
import tracemalloc
from collections.abc import Iterator
from urllib.parse import urlsplit

import anyio
import psutil
import pytest
from anyio import to_thread

from terrapod_control_plane.kernel.memory import give_back
from terrapod_control_plane.web.connection import LimitedProtocol
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

CUTS = 400
KIB = 1024
MIB = 1024 * KIB


def cut(url: str, token: str, context: ssl.SSLContext, read: int) -> None:
    """Asks, reads that much, and is gone without a word."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 443)) as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with context.wrap_socket(plain, server_hostname=parts.hostname) as stream:
            path = f"{parts.path}?{parts.query}"
            asked = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{token}\r\n"
            stream.sendall(asked.encode())
            if read:
                stream.recv(read)


def held() -> tuple[int, int, int]:
    """Connections, tasks and open files."""
    gc.collect()
    found = sum(isinstance(one, LimitedProtocol) for one in gc.get_objects())
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number
    return found, len(asyncio.all_tasks()), files


def memory() -> tuple[int, int]:
    """Bytes of what Python knows, and of all that the process has."""
    gc.collect()
    give_back()
    return tracemalloc.get_traced_memory()[0], psutil.Process().memory_info().rss


@pytest.fixture(autouse=True)
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def leaves_nothing(url: str, token: str, context: ssl.SSLContext, read: int) -> None:
    """Many who leave, and then nothing is left of them."""
    for _ in range(20):  # what a first use opens once
        await to_thread.run_sync(cut, url, token, context, read)
    await anyio.sleep(0.5)
    before = held()
    for number in range(CUTS):
        if number == CUTS // 4:
            early = memory()
        await to_thread.run_sync(cut, url, token, context, read)
    with anyio.fail_after(20):
        while any(  # noqa: ASYNC110 - memory tells nobody
            now > then + 3 for now, then in zip(held(), before, strict=True)
        ):
            await anyio.sleep(0.2)
    late = memory()
    assert late[0] - early[0] < 300 * KIB
    assert late[1] - early[1] < 6 * MIB


@pytest.fixture
def trusting(control: Control) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=control.services.authority.cert_pem.decode())


async def test_of_a_log(
    api: Client, listener: Agent, workspace: str, trusting: ssl.SSLContext
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    for number in range(8):
        line = os.urandom(MIB // 2).hex().encode()
        sent = await listener.send(work, "log", line, f"offset={number * MIB}")
        assert sent.status_code == 200
    plan = await api.get(f"/api/v2/runs/{run}/plan")
    url = plan["data"]["attributes"]["log-read-url"]
    await leaves_nothing(url, "", trusting, 1)


async def test_of_a_content(
    control: Control, api: Client, workspace: str, trusting: ssl.SSLContext
) -> None:
    id_, url = await factories.upload_url(api, workspace)
    content = factories.archive(**{"main.tf": "", "much.txt": os.urandom(2 * MIB).hex()})
    assert (await api.call("PUT", url, content=content)).status_code == 200
    found = await api.call("GET", f"/api/v2/configuration-versions/{id_}/download")
    await leaves_nothing(found.headers["location"], "", trusting, 1)


async def test_before_an_answer(
    control: Control, api: Client, workspace: str, trusting: ssl.SSLContext
) -> None:
    token = api.http.headers["authorization"]
    url = f"{control.public_url}/api/v2/workspaces/{workspace}"
    await leaves_nothing(url, f"Authorization: {token}\r\n", trusting, 0)
