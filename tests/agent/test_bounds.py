"""What a run may take of the machine, and what the shim says when it does not know."""

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

import terrapod_agent
from terrapod_agent.executors import bubblewrap
from terrapod_agent.executors.base import Account, Command, Exit
from terrapod_agent.executors.bubblewrap import Bubblewrap
from terrapod_agent.executors.local import LocalExecutor
from terrapod_agent.executors.process import read_exit

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.needs("root", "bwrap"),
]

UID = 64998
# It takes the end of the program before the shim can, and wakes the shim then.
THIEF = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
from terrapod_agent.executors.shim import main

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])

def steal():
    while True:
        try:
            os.wait()
            break
        except ChildProcessError:
            pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

threading.Thread(target=steal, daemon=True).start()
sys.exit(main(sys.argv[2:]))
"""


def sandboxed() -> Bubblewrap:
    found = bubblewrap.find()
    assert isinstance(found, Bubblewrap), found
    return found


def command(folder: Path, shell: str, **changes: object) -> Command:
    """A shell script in a place of its own, with the agent's files beside it."""
    place = folder / "place"
    place.mkdir(exist_ok=True)
    os.chown(place, UID, UID)
    given: dict[str, object] = {
        "argv": ("/bin/sh", "-c", shell),
        "folder": place,
        "environment": {"PATH": os.environ["PATH"], "HOME": str(place)},
        "output": folder / "log",
        "errors": folder / "log",
        "lock": folder / "lock",
        "exit_file": folder / "exit",
        "grace": 5.0,
        "account": Account(UID),
        "writable": (place,),
        "temporary": folder / "tmp",
        **changes,
    }
    return Command(**given)  # type: ignore[arg-type]


async def said(wanted: Command, sandbox: Bubblewrap | None = None) -> str:
    """What it prints."""
    running = await LocalExecutor(0.02, sandbox=sandbox).start(wanted)
    try:
        with anyio.fail_after(30):
            ended = await running.wait()
    finally:
        await running.close()
    printed = wanted.output.read_text()
    assert ended == Exit(code=0, peak=ended.peak), printed
    return printed


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that is not below /tmp, and that every user may pass through."""
    with TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture
def within() -> Iterator[Path]:
    """One that is, in which a run has put a link for who makes folders there."""
    with TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o711)
        Path(name, "tmp").mkdir()
        Path(name, "tmp", Path(name).name).symlink_to("/oldroot/etc")
        yield Path(name)


LIMITS = "cat /proc/self/oom_score_adj; grep 'Max processes' /proc/self/limits"


@pytest.mark.parametrize("sandbox", [False, True])
async def test_a_run_is_killed_before_the_agent_and_has_so_many_processes(
    outside: Path, *, sandbox: bool
) -> None:
    printed = await said(command(outside, LIMITS), sandboxed() if sandbox else None)
    assert printed.split() == ["500", "Max", "processes", "4096", "4096", "processes"]


async def test_the_processes_of_the_agents_own_user_are_not_limited(tmp_path: Path) -> None:
    printed = await said(command(tmp_path, LIMITS, account=None))
    soft, hard = map(str, resource.getrlimit(resource.RLIMIT_NPROC))
    assert printed.replace("unlimited", "-1").split()[3:5] == [soft, hard]


async def test_what_a_run_writes_in_a_sandbox_is_no_memory_without_a_bound(outside: Path) -> None:
    shell = "df -P /tmp /dev/shm; touch /tmp/a /dev/shm/a; touch /dev/a 2>&1; echo > /dev/null"
    printed = (await said(command(outside, shell), sandboxed())).splitlines()
    assert (outside / "tmp" / "a").stat().st_uid == UID
    assert not printed[1].startswith("tmpfs")
    assert printed[2].split()[:2] == ["tmpfs", str(64 * 1024)]
    assert "Read-only" in printed[3]


async def test_an_older_bubblewrap_makes_a_sandbox_too(outside: Path) -> None:
    """Before 0.7 it knows no `--size`."""
    real = sandboxed().bwrap
    older = outside / "bwrap"
    older.write_text(
        "#!/bin/sh\n"
        'for one in "$@"; do [ "$one" != --size ] || { echo unknown >&2; exit 1; }; done\n'
        f'[ "$1" != --help ] || {{ {real} --help 2>&1 | grep -v -e --size; exit; }}\n'
        f'exec {real} "$@"\n'
    )
    older.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{outside}:{path}"
    try:
        sandbox = sandboxed()
    finally:
        os.environ["PATH"] = path
    assert (sandbox.bwrap, sandbox.sizes) == (str(older), False)
    assert (
        await said(command(outside, "echo here > /dev/shm/x && cat /dev/shm/x"), sandbox)
        == "here\n"
    )


async def test_where_a_place_lies_in_tmp_nothing_is_made_in_what_a_run_had_before(
    within: Path,
) -> None:
    printed = await said(command(within, "df -P /tmp; pwd"), sandboxed())
    assert printed.split("tmpfs")[1].split()[0] == str(64 * 1024)
    assert printed.endswith(f"{within}/place\n")


async def test_an_end_that_somebody_else_has_taken_is_not_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    environment, agent = os.open(os.devnull, os.O_RDONLY), os.pipe()
    names = {"lock": "lock", "exit": "exit", "output": "log", "errors": "log"}
    options = [f"--{name}={tmp_path}/{file}" for name, file in names.items()]
    options += ["--grace=5", f"--folder={tmp_path}", f"--environment={environment}"]
    packages = str(Path(terrapod_agent.__file__).parents[1])
    program = ["--", "/bin/sh", "-c", "exit 0"]
    with anyio.fail_after(30):
        done = await anyio.run_process(
            [sys.executable, "-c", THIEF, packages, *options, *program],
            stdin=agent[0],
            pass_fds=(environment,),
            check=False,
        )
    for descriptor in (environment, *agent):
        os.close(descriptor)
    ended = read_exit(tmp_path / "exit")
    assert ended is not None
    assert (ended.hard, ended.code, ended.describe()) == (True, None, "nothing tells how it ended")
    assert done.returncode != 0
