"""What happens to the process before it is an agent: no secrets in sight, nothing to reap."""

import os
import sys
from pathlib import Path

import terrapod_agent
from terrapod_agent import settings
from terrapod_agent.executors import kernel


def prepare() -> None:
    """Execute this program anew without secrets in its environment, and never be process 1.

    What was in the environment at the start is readable in ``/proc`` for as long as a process
    lives, whatever it does to its variables.
    """
    settings.receive()
    secrets = settings.secrets()
    if secrets:
        reader = settings.handed(secrets)
        os.set_inheritable(reader, True)
        os.execve(sys.executable, _again(), settings.without(secrets, reader))  # noqa: S606 - ourselves
    if os.getpid() == 1:
        _below_init()
    dumpable(yes=False)


def _again() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]


def _below_init() -> None:
    waiting, ready = os.pipe()
    child = os.fork()
    if child:
        # Isolated and without site: it needs nothing, and lives as long as the container.
        init = str(Path(terrapod_agent.__file__).with_name("init.py"))
        os.set_inheritable(ready, True)
        arguments = ["-I", "-S", "-E", init, str(child), str(ready)]
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - a script of ours
    os.close(ready)
    os.read(waiting, 1)
    os.close(waiting)


def dumpable(*, yes: bool) -> None:
    """Whether processes of the same user may look into this one, or into a core dump of it."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, int(yes))
