"""What the shim does for one program: nothing is left of it, and its end is explained."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import anyio
import pytest

from terrapod_agent.executors import kernel
from terrapod_agent.executors.base import Command, Exit
from terrapod_agent.executors.local import LocalExecutor
from terrapod_agent.executors.process import read_record
from tests.kit.scripted_terraform import alive, parent

pytestmark = pytest.mark.anyio

# It leaves the group, the session and its parent, as daemons do.
DAEMON = (
    "import os, sys, time, pathlib\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "if os.fork(): os._exit(0)\n"
    "pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\n"
    "time.sleep(60)\n"
)


def command(folder: Path, shell: str, **changes: object) -> Command:
    """A shell script as the program."""
    given: dict[str, object] = {
        "argv": ("/bin/sh", "-c", shell),
        "folder": folder,
        "environment": {"PATH": os.environ["PATH"], "HOME": str(folder)},
        "output": folder / "log",
        "errors": folder / "log",
        "lock": folder / "lock",
        "exit_file": folder / "exit",
        "grace": 5.0,
        **changes,
    }
    return Command(**given)  # type: ignore[arg-type]


async def ended(wanted: Command) -> Exit:
    """Run it to its end."""
    running = await LocalExecutor(0.02).start(wanted)
    try:
        return await running.wait()
    finally:
        await running.close()


def written(path: Path) -> str:
    """What a program has written there, on one line."""
    return path.read_text().strip() if path.exists() else ""


async def until(path: Path) -> None:
    """Return once a program has written its process there."""
    with anyio.fail_after(20):
        while not written(path):  # noqa: ASYNC110 - a file tells nobody
            await anyio.sleep(0.02)


def daemon(folder: Path) -> str:
    """A line of shell that leaves a daemon, whose process is in ``folder/daemon`` then."""
    (folder / "daemon.py").write_text(DAEMON)
    start = f"{sys.executable} -SE {folder}/daemon.py {folder}/daemon"
    return f"{start}; while ! test -s {folder}/daemon; do sleep 0.02; done"


async def test_daemons_and_children_in_the_background_end_with_terraform(tmp_path: Path) -> None:
    shell = f"{daemon(tmp_path)}; sleep 60 & echo $! > {tmp_path}/child; exit 3"
    told = await ended(command(tmp_path, shell))
    assert (told.code, told.left, told.explained) == (3, (), True)
    assert not alive(tmp_path / "daemon")
    assert not kernel.start_time(int(written(tmp_path / "child")))


async def test_a_daemon_does_not_hold_up_the_end_when_the_shim_is_killed(tmp_path: Path) -> None:
    shell = f"trap 'exit 1' INT; {daemon(tmp_path)}; printf $$ > {tmp_path}/pid; "
    shell += "while true; do sleep 0.05; done"
    running = await LocalExecutor(0.02).start(command(tmp_path, shell))
    await until(tmp_path / "pid")
    os.kill(parent(tmp_path / "pid"), signal.SIGKILL)
    began = time.monotonic()
    told = await running.wait()
    assert time.monotonic() - began < 4
    assert "watches over terraform was killed" in told.error
    assert not alive(tmp_path / "pid")
    assert not alive(tmp_path / "daemon")
    await running.close()


async def test_a_terraform_that_outlives_its_shim_has_its_grace_and_is_killed_then(
    tmp_path: Path,
) -> None:
    shell = f"trap '' INT; printf $$ > {tmp_path}/pid; while true; do sleep 0.05; done"
    running = await LocalExecutor(0.02).start(command(tmp_path, shell, grace=0.5))
    await until(tmp_path / "pid")
    assert read_record(tmp_path / "lock").pid == int(written(tmp_path / "pid"))
    os.kill(parent(tmp_path / "pid"), signal.SIGKILL)
    assert (await running.wait()).hard
    assert not alive(tmp_path / "pid")
    await running.close()


async def test_a_death_by_signal_is_told_with_its_peak(tmp_path: Path) -> None:
    told = await ended(command(tmp_path, "kill -9 $$"))
    assert (told.signal, told.hard, told.explained) == (9, True, False)
    assert told.peak > 100_000
    assert told.describe().startswith("killed by signal 9 (SIGKILL); its peak was ")


async def test_who_killed_it_is_told(tmp_path: Path) -> None:
    shell = f"trap '' INT; printf $$ > {tmp_path}/pid; while true; do sleep 0.05; done"
    running = await LocalExecutor(0.02).start(command(tmp_path, shell, grace=0.1))
    await until(tmp_path / "pid")
    await running.interrupt()
    told = await running.wait()
    await running.close()
    assert (told.signal, told.killed, told.hard) == (9, "grace", True)
    assert "did not end in time after it was interrupted" in told.describe()
    assert "want of memory" not in told.describe()


async def test_near_its_memory_limit_it_is_interrupted_and_can_save(tmp_path: Path) -> None:
    program = (
        "import pathlib, signal, sys, time\n"
        "def save(*_):\n"
        "    pathlib.Path('saved').touch(); sys.exit(1)\n"
        "signal.signal(signal.SIGINT, save)\n"
        "kept = bytearray(95_000_000)\n"
        "kept[::4096] = b'x' * len(kept[::4096])\n"
        "time.sleep(60)\n"
    )
    argv = (sys.executable, "-SEc", program)
    told = await ended(command(tmp_path, "", argv=argv, memory=100_000_000))
    assert (tmp_path / "saved").exists()
    assert (told.code, told.limit, told.explained, told.hard) == (1, 100_000_000, False, False)
    assert 90_000_000 < told.peak < 130_000_000
    assert "interrupted near its memory limit of 100 MB" in told.describe()


async def test_what_a_child_uses_counts_for_the_memory_limit(tmp_path: Path) -> None:
    eat = "import time; kept = bytearray(95_000_000); kept[::4096] = b'x' * len(kept[::4096])"
    (tmp_path / "eat.py").write_text(f"{eat}; time.sleep(60)")
    shell = f"trap 'exit 4' INT; {sys.executable} -SE {tmp_path}/eat.py & wait"
    told = await ended(command(tmp_path, shell, memory=100_000_000))
    assert (told.code, told.limit) == (4, 100_000_000)


async def test_a_program_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    told = await ended(command(tmp_path, "", argv=("/nowhere/terraform",)))
    assert told.code == 127
    assert "cannot start /nowhere/terraform" in (tmp_path / "log").read_text()


def test_the_kernels_word_on_memory_becomes_the_likely_cause() -> None:
    told = Exit(signal=9, peak=512_000_000, out_of_memory=True)
    assert told.describe() == (
        "killed by signal 9 (SIGKILL), most likely by the kernel for want of memory;"
        " its peak was 512 MB"
    )
    assert "memory" not in Exit(signal=9, out_of_memory=True, killed="order").describe()
    assert "memory" not in Exit(signal=15, out_of_memory=True).describe()
    assert Exit(code=1).describe() == "exit code 1"


def _names(pids: Iterable[int]) -> list[str]:
    return [kernel.process_name(pid) for pid in pids]


def test_processes_are_seen_with_their_descendants() -> None:
    child = subprocess.Popen(["sh", "-c", "sleep 5 & wait"])
    until_there = time.monotonic() + 5
    below = kernel.descendants(child.pid)
    # It is a copy of the shell for a moment.
    while _names(below) != ["sleep"] and time.monotonic() < until_there:
        time.sleep(0.02)
        below = kernel.descendants(child.pid)
    assert _names(below) == ["sleep"]
    assert kernel.start_time(child.pid) > 0
    assert kernel.resident_bytes(child.pid) > 100_000
    for pid in (*below, child.pid):
        os.kill(pid, signal.SIGKILL)
    child.wait()
    assert kernel.start_time(child.pid) == 0
    assert kernel.oom_kills() >= 0


async def test_a_later_phase_under_its_own_shim_is_no_stray(tmp_path: Path) -> None:
    """Both phases of a run have the same HOME; what is left of the first is looked for late."""
    (tmp_path / "old").mkdir()
    await ended(command(tmp_path, "exit 0", lock=tmp_path / "old" / "lock"))
    shell = f"printf $$ > {tmp_path}/pid; while ! test -e {tmp_path}/go; do sleep 0.05; done"
    running = await LocalExecutor(0.02).start(command(tmp_path, shell))
    await until(tmp_path / "pid")
    record = read_record(tmp_path / "old" / "lock")
    assert record.home == str(tmp_path)
    assert record.strays() == []
    (tmp_path / "go").touch()
    assert (await running.wait()).code == 0
    await running.close()
