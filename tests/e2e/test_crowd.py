"""Strangers come in crowds to a server that may open few files: the apply of an agent goes on."""

import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from terrapod_control_plane.kernel.postgres.embedded import Embedded
from tests.e2e.conftest import version_of
from tests.e2e.test_breaks import SLOW_APPLY, lines_of
from tests.kit.command_line import Cli
from tests.kit.stack import Agent, Server, until
from tests.kit.terraforms import real_terraform

pytestmark = pytest.mark.timeout(180)

FILES = 256


@pytest.fixture
def tight() -> Iterator[Server]:
    """A server that may open few files."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = Server(folder=Path(folder), open_files=FILES)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            Embedded(server.data / "postgres").erase()


def plain(port: int) -> socket.socket:
    """Only connects."""
    return socket.create_connection(("localhost", port), timeout=5)


def secured(port: int) -> socket.socket:
    """Does a handshake and says nothing more."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain(port), server_hostname="localhost")


def half_a_head(port: int) -> socket.socket:
    """Begins a request."""
    begun = secured(port)
    begun.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
    return begun


def crowd(stack: ExitStack, come: Callable[[int], socket.socket], port: int, many: int) -> int:
    """How many were let in; who is shut out again counts too."""
    let_in = 0
    for _ in range(many):
        try:
            stack.enter_context(come(port))
        except OSError:
            continue
        let_in += 1
    return let_in


def files_of(server: Server) -> int:
    """How many files it has open."""
    assert server.process is not None
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))  # noqa: PTH208 - only their number


def test_an_apply_is_stored_while_strangers_hold_all_that_they_can(
    tight: Server, tmp_path: Path
) -> None:
    tight.command("pools", "create", "main")
    carried = real_terraform(tmp_path)
    tight.command("cache", "import", str(carried))
    agent = Agent(folder=tmp_path / "agent", server=tight, name="one", pool="main")
    agent.join()
    agent.start()
    version = version_of(str(carried))
    attributes = {"name": "app", "terraform-version": version}
    body = {"data": {"type": "workspaces", "attributes": attributes}}
    tight.api("POST", "organizations/default/workspaces", body)
    cli = Cli(folder=tmp_path / "cli", server=tight, terraform=carried, workspace="app")
    try:
        with ExitStack() as strangers:
            for come in (plain, secured, half_a_head):
                assert crowd(strangers, come, tight.port, 120) > 0
            crowd(strangers, plain, tight.agent_port, 300)
            crowd(strangers, secured, tight.agent_port, 50)
            began = time.monotonic()
            with tight.client() as client:
                assert client.get("/health").status_code == 200
            assert time.monotonic() - began < 5
            cli.configure(SLOW_APPLY.replace("COUNT", "8"))
            cli.ok("init")
            ran = cli.ok("apply", "-auto-approve")
            assert sorted(set(lines_of(ran))) == list(range(1, 9))
            assert files_of(tight) < FILES - 20
        # Nothing of them lasts.
        until(lambda: files_of(tight) < 70, "their files are closed")
        with tight.client() as client:
            assert client.get("/ready").status_code == 200
    finally:
        agent.stop()
