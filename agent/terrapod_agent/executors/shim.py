"""Runs one terraform and outlives the agent by just as long as terraform needs to stop.

Started in a process of its own, with nothing but the standard library: it must be up in
milliseconds and never fail for want of a package. The agent holds the other end of standard
input: ``i`` asks for an interrupt, ``k`` for a kill, the end of it means that the agent is gone.

    --OPTION=VALUE ... -- PROGRAM [ARGUMENT ...]

``lock``      held by this process alone; gets ``pid`` and ``start`` of terraform, for who comes
              after a shim that was killed
``exit``      gets lines ``NAME VALUE``: how terraform ended
``output``, ``errors``, ``folder``, ``grace``
``environment`` a descriptor: the environment of PROGRAM, with a NUL between entries
``uid``       terraform runs under this user and group id, without capabilities
``memory``    bytes; at nine tenths of it terraform is interrupted
``sandboxed`` PROGRAM is bubblewrap: it tells at descriptor 3 which process terraform is, terraform
              itself says at 4 that it is ready, and waits at 5 for leave to go
"""

import contextlib
import fcntl
import os
import select
import signal
import time

from terrapod_agent.executors import kernel

_LOST = 120  # the exit code for "terraform was not started"
_NEVER = float("inf")
_CLEARING = 2.0  # seconds for what terraform left behind
_INFO, _READY, _GO = 3, 4, 5
_ABOVE = 10  # descriptors from here on are in nobody's way


def main(arguments: list[str]) -> int:
    """Run one program; the result is an exit code."""
    at = arguments.index("--")
    options = dict(argument[2:].split("=", 1) for argument in arguments[:at])
    return Shim(options, arguments[at + 1 :]).run()


class Shim:
    """Holds one program."""

    def __init__(self, options: dict[str, str], argv: list[str]) -> None:
        self._options = options
        self._argv = argv
        self._environment = kernel.read_environment(int(options["environment"]))
        self._uid = int(options.get("uid", "0"))
        self._grace = float(options["grace"])
        self._sandboxed = "sandboxed" in options
        self._limit = int(options.get("memory", "0"))
        self._exit_lines: list[str] = []
        self._lock = -1
        self._child = 0  # the process that we wait for: terraform, or bubblewrap
        self._program = 0  # terraform's own process
        self._program_fd = -1
        self._interrupted = False
        self._kill_at = _NEVER
        self._check_memory_at = 0.0 if self._limit else _NEVER
        self._peak = 0

    def run(self) -> int:
        """Run it to its end and tell how it ended."""
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        try:
            # No O_CREAT: when a restarted agent has already cleared the folder, there is no work.
            self._lock = os.open(self._options["lock"], os.O_RDWR | os.O_APPEND)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return self._write_exit(f"error {error.strerror}", _LOST)
        if _agent_gone():
            return self._write_exit("error the agent was gone before terraform started", _LOST)
        # What terraform leaves becomes ours, also what left its group and its session.
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        wake = kernel.child_exit_fd()
        kills = kernel.oom_kills()
        if not self._start():
            return self._write_exit("error the sandbox could not be made", _LOST)
        status = self._wait(wake)
        if kernel.oom_kills() > kills:
            self._exit_lines.append("oom 1")
        self._kill_leftovers()
        self._exit_lines.append(f"peak {self._peak}")
        if status is None:
            return self._write_exit("unknown 1", _LOST)
        code = os.WEXITSTATUS(status)
        ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if self._sandboxed and code > 128:
            ended_by = code - 128  # as bubblewrap passes it on
        if ended_by:
            return self._write_exit(f"signal {ended_by}", 128 + ended_by)
        return self._write_exit(f"code {code}", code)

    def _start(self) -> bool:
        """Start the program; it runs no step before its process is on record."""
        pipes = [os.pipe() for _ in range(3)]
        (info, info_in), (ready, ready_in), (go_out, go) = pipes
        shim = os.getpid()
        self._child = self._program = os.fork()
        if not self._child:
            self._in_child(shim, (info_in, ready_in, go_out))
        for theirs in (info_in, ready_in, go_out):
            os.close(theirs)
        with contextlib.suppress(OSError):
            os.setpgid(self._child, self._child)  # the child does the same; whoever is first
        is_ready = bool(os.read(ready, 1))
        if self._sandboxed and is_ready:
            said = os.read(info, 4096).partition(b'"child-pid":')[2]
            self._program = int(said.partition(b",")[0])
        if hasattr(os, "pidfd_open") and is_ready:
            with contextlib.suppress(OSError):
                self._program_fd = os.pidfd_open(self._program)
        if is_ready:
            record = f"pid {self._program}\nstart {kernel.start_time(self._program)}\n"
            os.write(self._lock, record.encode())
            with contextlib.suppress(OSError):
                os.write(go, b"go\n")
        for ours in (info, ready, go):
            os.close(ours)
        # Without a sandbox the child may have failed in itself, and its exit code says so.
        return is_ready or not self._sandboxed

    def _in_child(self, shim: int, pipes: tuple[int, int, int]) -> None:
        options = self._options
        try:
            os.setpgid(0, 0)  # a Ctrl-C at the agent's terminal is the agent's business
            # Ignored signals stay ignored over exec, and Python ignores SIGPIPE.
            for reset in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGCHLD"):
                signal.signal(getattr(signal, reset), signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream, name in ((1, "output"), (2, "errors")):
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
                os.dup2(os.open(options[name], flags, 0o600), stream)
            os.umask(0o022)  # ours keeps what we write to ourselves
            kernel.limit_process(alone=bool(self._uid))
            # Opened while we may: the way to it may be closed to the run's user.
            program = os.open(self._argv[0], os.O_RDONLY)
            if self._uid and not self._sandboxed:
                os.setgroups([])
                os.setresgid(self._uid, self._uid, self._uid)
                os.setresuid(self._uid, self._uid, self._uid)
            if self._uid or self._sandboxed:
                kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
                kernel.restrict_scope()
            # As the run's user: it may have put a link there that leads to what others may not see.
            os.chdir(options["folder"])
            # A change of the user clears it, so it comes after that. Bubblewrap has to die: then
            # terraform, its child, gets the interrupt that setpriv has asked for in its name.
            last = signal.SIGTERM if self._sandboxed else signal.SIGINT
            kernel.prctl(kernel.PR_SET_PDEATHSIG, last)
            if os.getppid() != shim:
                os._exit(_LOST)
            self._wait_for_go(pipes)
            self._exec(program)
        except OSError as error:
            os.write(2, f"cannot start {self._argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def _exec(self, program: int) -> None:
        path, environment = self._argv[0], self._environment
        if self._sandboxed:  # bubblewrap has our rights as well, and passes this on unseen
            handed = kernel.memory_file((b"--setenv", *entry) for entry in environment.items())
            self._argv[1:1], environment = ("--args", str(handed)), {}
        elif self._uid:
            path = f"/proc/self/fd/{program}"  # if it is a script, its interpreter reads it there
        os.set_inheritable(program, path != self._argv[0])
        os.execve(path, self._argv, environment)  # noqa: S606 - a program

    def _wait_for_go(self, pipes: tuple[int, int, int]) -> None:
        info, ready, go = pipes
        if not self._sandboxed:
            os.write(ready, b"r")
            if not os.read(go, 1):
                os._exit(_LOST)
            return
        above = [fcntl.fcntl(pipe, fcntl.F_DUPFD, _ABOVE) for pipe in (info, ready, go)]
        for pipe, run_folder in zip(above, (_INFO, _READY, _GO), strict=True):
            os.dup2(pipe, run_folder)
            os.close(pipe)

    def _wait(self, wake: int) -> int | None:
        """Wait for the end, passing on what the agent wants; the wait status if it is known."""
        listening = [0, wake]
        while True:
            over, status = self._reap()
            if over:
                return status
            now = time.monotonic()
            if now >= self._kill_at:
                self._kill("grace")
            if now >= self._check_memory_at:
                self._check_memory(now)
            until = min(self._kill_at, self._check_memory_at)
            pause = None if until == _NEVER else max(0.0, until - time.monotonic())
            readable, _, _ = select.select(listening, [], [], pause)
            if wake in readable:
                os.read(wake, 64)
            if 0 in readable:
                asked = os.read(0, 64)
                if not asked:
                    listening = [wake]
                if b"k" in asked:
                    self._kill("order")
                else:
                    self._interrupt()

    def _reap(self) -> tuple[bool, int | None]:
        """Take all that has ended; whether the program has, and its status."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:  # somebody else took it, so nobody can tell
                return True, None
            if not pid:
                return False, None
            self._peak = max(self._peak, used.ru_maxrss * 1024)
            if pid != self._child:
                continue
            if self._program != pid and os.WIFSIGNALED(status) and kernel.start_time(self._program):
                # Somebody killed bubblewrap: terraform was interrupted by that, and is ours now.
                self._child, self._sandboxed = self._program, False
                self._interrupt()
                continue
            return True, status

    def _interrupt(self) -> None:
        # Never twice: terraform takes a second interrupt as leave to drop the state.
        if not self._interrupted:
            self._interrupted, self._kill_at = True, time.monotonic() + self._grace
            self._signal(signal.SIGINT)

    def _kill(self, why: str) -> None:
        self._kill_at = _NEVER
        self._exit_lines.append(f"killed {why}")
        self._signal(signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.killpg(self._child, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Signal terraform's own process: bubblewrap would take the whole sandbox down."""
        with contextlib.suppress(OSError):
            if self._program_fd >= 0:
                signal.pidfd_send_signal(self._program_fd, number)
            else:
                os.kill(self._program, number)

    def _check_memory(self, now: float) -> None:
        self._check_memory_at = now + 1.0
        size = sum(map(kernel.resident_bytes, kernel.descendants(os.getpid())))
        self._peak = max(self._peak, size)
        if size >= 0.9 * self._limit:
            self._check_memory_at = _NEVER
            self._exit_lines.append(f"limit {self._limit}")
            self._interrupt()

    def _kill_leftovers(self) -> None:
        """End what terraform left behind, and name what can't be ended."""
        with contextlib.suppress(OSError):
            os.killpg(self._child, signal.SIGKILL)
        if self._uid:
            kernel.kill_user(self._uid)
        until = time.monotonic() + _CLEARING
        while True:
            left = kernel.descendants(os.getpid())
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            try:
                pid, _, _ = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if time.monotonic() > until:
                self._exit_lines += [f"left {pid} {kernel.process_name(pid)}" for pid in left]
                return
            if not pid:
                time.sleep(0.01)

    def _write_exit(self, line: str, code: int) -> int:
        path = self._options["exit"]
        with open(f"{path}.new", "w") as file:  # noqa: PTH123 - pathlib would double the start-up time
            file.write("\n".join([line, *self._exit_lines, ""]))
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{path}.new", path)  # noqa: PTH104 - see above
        return code


def _agent_gone() -> bool:
    readable, _, _ = select.select([0], [], [], 0)
    return bool(readable) and not os.read(0, 1)
