"""A program: reads what one process may not be held up by, and ends when nothing comes any more.

``python -m terrapod_control_plane.kernel.reader DESCRIPTOR IDLE``: on the socket of that number
come names of functions, each with the descriptor of a memory; back goes what they make of it.
The process is left after ``IDLE`` seconds without work, or when the socket is closed.
"""

import contextlib
import importlib
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

NAME_AT_MOST = 4096
# In front of each answer: how it went, and how many bytes follow.
DONE, REFUSED = b"d", b"r"
HEAD = 1 + 8

Reading = Callable[[memoryview], bytes]


def main() -> None:
    """Answer until nothing comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the server, which shares a terminal
    with contextlib.suppress(OSError):
        # Where memory runs out, this process and no other is to be ended.
        Path("/proc/self/oom_score_adj").write_text("800")
    with socket.socket(fileno=int(sys.argv[1])) as served:
        served.settimeout(float(sys.argv[2]))
        with contextlib.suppress(TimeoutError, ConnectionError):
            while _answer(served):
                pass


def _answer(served: socket.socket) -> bool:
    name, descriptors, _, _ = socket.recv_fds(served, NAME_AT_MOST, 1)
    if not name or not descriptors:
        return False
    how, said = _read(name.decode(), descriptors[0])
    served.settimeout(None)  # however long the server takes to take it
    served.sendall(how + len(said).to_bytes(HEAD - 1, "big"))
    served.sendall(said)
    served.settimeout(float(sys.argv[2]))
    return True


def _read(name: str, descriptor: int) -> tuple[bytes, bytes]:
    module, _, function = name.partition(":")
    reading: Reading = getattr(importlib.import_module(module), function)
    try:
        # What was read may still point into it, so it is closed when nothing does any more.
        content = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
    try:
        return DONE, reading(memoryview(content))
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        return REFUSED, str(error).encode()


if __name__ == "__main__":
    main()
