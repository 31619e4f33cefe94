"""What the kernel tells about processes, and does for them.

The shim imports it: the standard library only.
"""

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Iterable

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SHIM = "terrapod_agent.executors.shim import"  # in its command line
_CGROUPS = "/sys/fs/cgroup"
_TAKEN_FIRST = "500"  # of 1000, where the kernel has to kill for want of memory
_PROCESSES = 4096  # and threads, of which each provider has some tens


def start_time(pid: int) -> int:
    """When a process was started, in ticks since the boot; 0 when it has ended."""
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else 0


def descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on; the dead wait to be reaped."""
    children: dict[int, list[int]] = {}
    for other in processes():
        if fields := _stat(other):
            children.setdefault(int(fields[1]), []).append(other)
    found, ahead = [], [pid]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def shim_processes() -> set[int]:
    """The shims that live, and all that runs under them."""
    shims = [pid for pid in processes() if _SHIM in read(f"/proc/{pid}/cmdline") and _is_own(pid)]
    return {*shims, *(below for pid in shims for below in descendants(pid))}


def _is_own(pid: int) -> bool:
    """Whether a process is of our own user: a run may call its own what it likes."""
    with contextlib.suppress(OSError):
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()  # noqa: PTH116 - quick start
    return False


def processes() -> list[int]:
    """All processes that can be seen."""
    with contextlib.suppress(OSError):
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208 - pathlib would double the start-up time
    return []


def resident_bytes(pid: int) -> int:
    """The bytes of memory that a process has in use."""
    words = read(f"/proc/{pid}/statm").split()
    return int(words[1]) * _PAGE if len(words) > 1 else 0


def process_group(pid: int) -> int:
    """The process group of a process; 0 when it has ended."""
    fields = _stat(pid)
    return int(fields[2]) if fields else 0


def process_name(pid: int) -> str:
    """What a process calls itself."""
    return read(f"/proc/{pid}/comm").strip() or "?"


def has_variable(pid: int, entry: str) -> bool:
    """Whether ``NAME=VALUE`` was in the environment that a process was started with."""
    return entry in read(f"/proc/{pid}/environ").split("\0")


def oom_kills() -> int:
    """How often the kernel has killed for want of memory in our control group, or at all."""
    for line in read("/proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        where = f"{_CGROUPS}/memory{path}/memory.oom_control"
        if number == "0":
            where = f"{_CGROUPS}{path}/memory.events"
        elif controllers != "memory":
            continue
        if (count := _oom_count(read(where))) is not None:
            return count
    return _oom_count(read("/proc/vmstat")) or 0


def kill_user(uid: int) -> None:
    """Kill every process of a user at once, so that none can outrun it."""
    child = os.fork()
    if not child:
        try:
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(child, 0)


def prctl(option: int, value: int) -> None:
    """Ask for something that only Linux has; elsewhere nothing happens."""
    if libc := _libc():
        libc.prctl(option, value, 0, 0, 0)


def restrict_scope() -> None:
    """From now on no signals to, and no abstract sockets of, what is outside of this process.

    Linux 6.12 and newer; an older one refuses the question, and nothing changes.
    """
    if libc := _libc():
        scoped = 1 | 2  # abstract sockets, signals
        attributes = (ctypes.c_uint64 * 3)(0, 0, scoped)
        made = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, 24, 0)
        if made >= 0:
            libc.syscall(_LANDLOCK_RESTRICT_SELF, made, 0)
            os.close(made)


def read_environment(descriptor: int) -> dict[bytes, bytes]:
    """The environment that is in a file."""
    with os.fdopen(descriptor, "rb") as file:
        entries = file.read().split(b"\0")
    return {name: value for name, _, value in (entry.partition(b"=") for entry in entries if entry)}


def memory_file(words: Iterable[Iterable[bytes]]) -> int:
    """A file in memory with words, each with a NUL behind it; its descriptor outlives an exec."""
    descriptor = os.memfd_create("words", 0)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(b"".join(word + b"\0" for some in words for word in some))
        file.seek(0)
    return descriptor


def read(path: str) -> str:
    """The text of a file of the kernel, or nothing."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - see above
            return file.read()
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    # The name of the program, in brackets, may hold anything.
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _oom_count(text: str) -> int | None:
    found = [line.split() for line in text.splitlines() if line.startswith("oom_kill ")]
    return int(found[0][1]) if found else None


def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "prctl") else None


def limit_process(*, alone: bool) -> None:
    """Let the kernel take this process before the agent, where memory or processes run out."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - quick start
        file.write(_TAKEN_FIRST)
    if alone:  # else it would count what others of this user have
        _, most = resource.getrlimit(resource.RLIMIT_NPROC)
        most = _PROCESSES if most == resource.RLIM_INFINITY else min(most, _PROCESSES)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def child_exit_fd() -> int:
    """A descriptor that can be read whenever a child has ended."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader
