"""Tries from where a run would be what no run may do, and says what it could.

    probe.py UID SECRET SOCKET

With a UID it becomes that user first; in a sandbox it is 0, for there everything is done. With
the standard library only: the agent's packages are not there.
"""

import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Callable, Iterator

_MS_REMOUNT, _MS_BIND = 32, 4096


def main(uid: int, secret: str, address: str) -> int:
    """Print one line for each thing that could be done; the exit code is their number."""
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    found = list(escapes(secret, address))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return len(found)


def escapes(secret: str, address: str) -> Iterator[str]:
    """What can be done from here."""
    if os.getuid() == 0:
        yield "a run would be root"
    if _succeeds(lambda: open(secret, "rb").close()):  # noqa: PTH123 - pathlib takes its time
        yield "a run could read files of the agent"
    if _succeeds(lambda: socket.socket(socket.AF_UNIX).connect(address)):
        yield "a run could connect to sockets of the agent"
    if any(map(_can_remount, ("/", "/usr"))):
        yield "a run could change mounts"


def _succeeds(action: Callable[[], object]) -> bool:
    with contextlib.suppress(OSError):
        action()
        return True
    return False


def _can_remount(path: str) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.mount(None, path.encode(), None, _MS_REMOUNT | _MS_BIND, None) == 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
