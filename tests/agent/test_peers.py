"""Whose the other end of a connection is, as the kernel tells it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from terrapod_agent.executors import peers

OTHER = 65_000
CONNECTS = """
import encodings.idna, os, socket, sys
if uid := int(sys.argv[2]):
    os.setresuid(uid, uid, uid)
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sys.stdin.read()
"""


# Both ends of a connection of another network, of which the kernel tells nothing here.
ELSEWHERE = """
import socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
listening = socket.create_server(("127.0.0.1", 0))
calling = socket.create_connection(listening.getsockname())
taken, _ = listening.accept()
with socket.socket(fileno=int(sys.argv[1])) as ours:
    socket.send_fds(ours, [b"x"], [taken.fileno(), calling.fileno()])
"""


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_our_own_user_is_known(listening: socket.socket, host: str) -> None:
    with socket.create_connection((host, port_of(listening))):
        taken, _ = listening.accept()
        with taken:
            assert peers.peer_uid(taken) == os.getuid()
            assert peers.peer_allowed(taken, os.getuid())
            assert peers.peer_allowed(taken, None)
            assert not peers.peer_allowed(taken, os.getuid() + 1)


def test_another_user_is_known(listening: socket.socket) -> None:
    uid = OTHER if os.getuid() == 0 else 0  # who is not root stays who he is
    argv = [sys.executable, "-c", CONNECTS, str(port_of(listening)), str(uid)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        taken, _ = listening.accept()
        with taken:
            assert peers.peer_uid(taken) == (uid or os.getuid())
        assert process.stdin
        process.stdin.close()


def test_who_has_left_is_nobody(listening: socket.socket) -> None:
    socket.create_connection(("127.0.0.1", port_of(listening))).close()
    taken, _ = listening.accept()
    with taken:
        taken.settimeout(10)
        assert taken.recv(1) == b""
        taken.shutdown(socket.SHUT_WR)
        assert not peers.peer_allowed(taken, os.getuid() + 1)


@pytest.mark.needs("ip")
def test_where_the_kernel_tells_nothing_everybody_may_enter() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        network = (
            ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
        )
        argv = [*network, sys.executable, "-c", ELSEWHERE, str(theirs.fileno())]
        subprocess.run(argv, check=True, pass_fds=(theirs.fileno(),))
        _, ends, _, _ = socket.recv_fds(ours, 1, 2)
    for end in ends:
        with socket.socket(fileno=end) as taken:
            assert peers.peer_uid(taken) is None
            assert peers.peer_allowed(taken, os.getuid() + 1)
