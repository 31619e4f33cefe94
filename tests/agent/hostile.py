"""Run by a hostile configuration: tries what no run may do, prints what it could.

``hostile.json`` beside it says where the agent and another run are. With doors among its aims it
keeps what it has opened until there is a file ``go``. Not a test: the tests hand it to a real
terraform as a file of the configuration.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from functools import partial

_MS_REMOUNT, _MS_BIND, _PTRACE_SEIZE = 32, 4096, 0x4206
_FLOOD, _SECONDS = 200, 10
SHOWN = ("nothing", "Bearer door.wrong")
_kept: list[socket.socket] = []


def main() -> None:
    """Try everything."""
    with open("hostile.json") as file:
        aims = json.load(file)
    found = [name for name, attempt in attempts(aims) if succeeds(attempt)]
    print("hostile:", json.dumps(found), flush=True)
    while _kept and not os.path.exists("go"):
        time.sleep(0.05)


def attempts(aims: dict[str, list[str]]) -> list[tuple[str, Callable[[], object]]]:
    """What is tried, each under a name; what does not raise has succeeded."""
    libc = ctypes.CDLL(None, use_errno=True)
    tried: list[tuple[str, Callable[[], object]]] = [
        ("root", lambda: os.setresuid(0, 0, 0)),
        ("remount /", lambda: done(libc.mount(None, b"/", None, _MS_REMOUNT | _MS_BIND, None))),
        ("mount", lambda: done(libc.mount(b"x", b"/dev/shm", b"tmpfs", 0, None))),
    ]
    tried += [(f"read {path}", partial(read, path)) for path in aims["files"]]
    tried += [(f"list {path}", partial(lists, path)) for path in aims["folders"]]
    tried += [(f"write {path}", partial(write, path)) for path in aims["tools"]]
    tried += [(f"connect {path}", partial(connect, path)) for path in aims["sockets"]]
    for pid in map(int, aims["processes"]):
        tried += [
            (f"signal {pid}", partial(os.kill, pid, signal.SIGCONT)),
            (f"trace {pid}", partial(trace, pid)),
            (f"memory {pid}", partial(read, f"/proc/{pid}/mem", 0)),
            (f"environment {pid}", partial(read, f"/proc/{pid}/environ")),
            (f"root of {pid}", partial(os.listdir, f"/proc/{pid}/root/")),
            (f"files of {pid}", partial(os.listdir, f"/proc/{pid}/fd")),
        ]
    for port in map(int, aims["doors"]):
        for shown in SHOWN:
            tried += [
                (f"an answer at {port} to {shown}", partial(answer, port, shown)),
                (f"entry at {port} with {shown}", partial(enter, port, shown)),
            ]
    tried += [(f"stay at {port}", partial(flood, int(port))) for port in aims["doors"]]
    return tried


def succeeds(attempt: Callable[[], object]) -> bool:
    """Whether it can be done."""
    try:
        attempt()
    except OSError:
        return False
    return True


def trace(pid: int) -> None:
    """Begin to trace a process."""
    done(ctypes.CDLL(None, use_errno=True).ptrace(_PTRACE_SEIZE, pid, 0, 0))


def done(code: int) -> None:
    """An error of a system call as an exception."""
    if code == -1:
        raise OSError(ctypes.get_errno(), "refused")


def lists(path: str) -> None:
    """Find the name of a path by listing its folder."""
    folder, _, name = path.rpartition("/")
    if name not in os.listdir(folder):
        raise OSError(0, "not seen")


def read(path: str, size: int = 16) -> None:
    """Read the beginning."""
    with open(path, "rb") as file:
        file.read(size)


def write(path: str) -> None:
    """Open for writing, or make a file beside it: whether that is real is seen from outside."""
    with contextlib.suppress(OSError):
        os.close(os.open(f"{path}.made", os.O_WRONLY | os.O_CREAT))
    os.close(os.open(path, os.O_WRONLY))


def connect(address: str) -> None:
    """Connect; an address that begins with @ is an abstract one."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + address[1:] if address[0] == "@" else address)


def answer(port: int, shown: str) -> bytes:
    """Get a word out of a door."""
    header = "" if shown == "nothing" else f"Authorization: {shown}\r\n"
    with socket.create_connection(("127.0.0.1", port), _SECONDS) as connection:
        connection.sendall(f"GET /api/v2/ping HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode())
        if not (said := connection.recv(1024)):
            raise OSError(0, "dropped")
    return said


def enter(port: int, shown: str) -> None:
    """Get past a door."""
    if b" 401 " in answer(port, shown):
        raise OSError(0, "refused")


def flood(port: int) -> None:
    """Open many connections and keep them: whether one of them is kept at the other end too."""
    opened = [socket.create_connection(("127.0.0.1", port), _SECONDS) for _ in range(_FLOOD)]
    _kept.extend(opened)
    until = time.monotonic() + _SECONDS / 5
    while opened and time.monotonic() < until:
        ended, _, _ = select.select(opened, [], [], 0.1)
        opened = [one for one in opened if one not in ended]
    if not opened:
        raise OSError(0, "dropped")


if __name__ == "__main__":
    main()
