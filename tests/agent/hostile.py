"""Run by a hostile configuration: tries what no run may do, prints what it could.

``hostile.json`` beside it says where the agent and another run are. Not a test: the tests hand it
to a real terraform as a file of the configuration.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
from collections.abc import Callable
from functools import partial

_MS_REMOUNT, _MS_BIND, _PTRACE_SEIZE = 32, 4096, 0x4206


def main() -> None:
    """Try everything."""
    with open("hostile.json") as file:
        aims = json.load(file)
    found = [name for name, attempt in attempts(aims) if succeeds(attempt)]
    print("hostile:", json.dumps(found))


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


if __name__ == "__main__":
    main()
