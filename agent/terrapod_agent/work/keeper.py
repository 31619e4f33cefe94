"""Runs one terraform and outlives the agent by just as long as terraform needs to stop.

Started as a script of its own, with nothing but the standard library: it must be up in
milliseconds and never fail for want of a package. The agent holds the other end of standard
input: ``i`` asks for an interrupt, ``k`` for a kill, the end of it means that the agent is gone.

    keeper.py LOCK EXIT OUTPUT ERRORS GRACE FOLDER PROGRAM [ARGUMENT ...]

The lock is held until terraform and all that it started have ended, even when this process is
killed. EXIT gets one line: ``exit N``, ``signal N`` or ``error TEXT``.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_LOST = 120  # the exit code for "terraform was not started"


def main(arguments: list[str]) -> int:
    """Keep one program; the result is an exit code."""
    lock, exit_file, output, errors, grace, folder, *argv = arguments
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    try:
        # No O_CREAT: when a restarted agent has already cleared the folder, there is no work.
        held = os.open(lock, os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.set_inheritable(held, True)
    except OSError as error:
        return _told(exit_file, f"error {error.strerror}", _LOST)
    if _agent_gone():
        return _told(exit_file, "error the agent was gone before terraform started", _LOST)
    wake = _child_watch()
    child = _start(argv, folder, output, errors)
    status = _keep(child, wake, float(grace))
    with contextlib.suppress(OSError):
        os.killpg(child, signal.SIGKILL)  # what terraform left behind in its group
    if os.WIFSIGNALED(status):
        return _told(exit_file, f"signal {os.WTERMSIG(status)}", 128 + os.WTERMSIG(status))
    return _told(exit_file, f"exit {os.WEXITSTATUS(status)}", os.WEXITSTATUS(status))


def _agent_gone() -> bool:
    readable, _, _ = select.select([0], [], [], 0)
    return bool(readable) and not os.read(0, 1)


def _child_watch() -> int:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    return reader


def _start(argv: list[str], folder: str, output: str, errors: str) -> int:
    libc = _libc()
    keeper = os.getpid()
    child = os.fork()
    if child:
        with contextlib.suppress(OSError):  # the child does the same; whoever is first
            os.setpgid(child, child)
        return child
    try:
        os.setpgid(0, 0)  # a Ctrl-C at the agent's terminal is the agent's business
        if libc:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != keeper:
            os._exit(_LOST)
        # Ignored signals stay ignored over exec, and Python ignores SIGPIPE.
        for reset in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(reset, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream, path in ((1, output), (2, errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream)
        os.chdir(folder)
        os.execv(argv[0], argv)  # noqa: S606 - a program, never a shell
    except OSError as error:
        os.write(2, f"cannot start {argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _libc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        libc.prctl  # noqa: B018 - only Linux has it; elsewhere a killed keeper goes unnoticed
    except (OSError, AttributeError):
        return None
    return libc


def _keep(child: int, wake: int, grace: float) -> int:
    """Wait for the end of the child, passing on what the agent wants; its wait status."""
    listening, interrupted, kill_at = [0, wake], False, float("inf")
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() >= kill_at:
            kill_at = float("inf")
            _signal_group(child, signal.SIGKILL)
        pause = None if kill_at == float("inf") else max(0.0, kill_at - time.monotonic())
        readable, _, _ = select.select(listening, [], [], pause)
        if wake in readable:
            os.read(wake, 64)
        if 0 in readable:
            asked = os.read(0, 64)
            if not asked:
                listening = [wake]
            if b"k" in asked:
                _signal_group(child, signal.SIGKILL)
            # Never twice: terraform takes a second interrupt as leave to drop the state.
            elif not interrupted:
                interrupted, kill_at = True, time.monotonic() + grace
                with contextlib.suppress(OSError):
                    os.kill(child, signal.SIGINT)


def _signal_group(child: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.killpg(child, number)


def _told(exit_file: str, line: str, code: int) -> int:
    beside = f"{exit_file}.new"
    with open(beside, "w") as file:  # noqa: PTH123 - pathlib would double the start-up time
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, exit_file)  # noqa: PTH104 - see above
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
