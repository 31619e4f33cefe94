"""What happens to the process before it is an agent: no secrets in sight, nothing to reap."""

import os
import sys
from pathlib import Path

import terrapod_agent
from terrapod_agent import settings
from terrapod_agent.executors import kernel


def harden_process() -> None:
    """Execute this program anew without secrets in its environment, and never be process 1.

    What was in the environment at the start is readable in ``/proc`` for as long as a process
    lives, whatever it does to its variables.
    """
    settings.receive_secrets()
    secrets = settings.environment_secrets()
    if secrets:
        reader = settings.pass_secrets(secrets)
        os.set_inheritable(reader, True)
        os.execve(sys.executable, _command_line(), settings.environment_without(secrets, reader))  # noqa: S606 - ourselves
    if os.getpid() == 1:
        _run_under_init()
    set_dumpable(yes=False)


def _command_line() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]


def _run_under_init() -> None:
    waiting, ready = os.pipe()
    child = os.fork()
    if child:
        # Isolated and without site: it needs nothing, and lives as long as the container.
        init = str(Path(terrapod_agent.__file__).with_name("container_init.py"))
        os.set_inheritable(ready, True)
        arguments = ["-I", "-S", "-E", init, str(child), str(ready)]
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - a script of ours
    os.close(ready)
    os.read(waiting, 1)
    os.close(waiting)


def set_dumpable(*, yes: bool) -> None:
    """Whether processes of the same user may look into this one, or into a core dump of it."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, int(yes))
