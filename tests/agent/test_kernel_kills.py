"""The kernel's own count of kills for want of memory, as a real shim finds it, becomes a word.

What the kernel would say is planted over its files, in a mount namespace of the shim's own.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from msgspec import Struct

from terrapod_agent.executors import python_program
from terrapod_agent.executors.base import Exit
from terrapod_agent.executors.process import read_exit

pytestmark = pytest.mark.needs("root")

VMSTAT = "pgmajfault 7\noom_kill {}\nnumber 1\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"
V2 = "low 0\nhigh 0\nmax 9\noom 8\noom_kill {}\noom_group_kill 7\n"
PLANTS = """
set -e
mount --bind "$1/groups" /sys/fs/cgroup
mount --bind "$1/vmstat" /proc/vmstat
mount --bind "$1/cgroup" /proc/$$/cgroup
shift
exec "$@"
"""


class Kernel(Struct, frozen=True):
    """What a kernel says of a process, and where it counts."""

    cgroup: str  # /proc/self/cgroup
    counts: str  # below /sys/fs/cgroup, or nothing where only the whole machine is counted
    text: str


KERNELS = {
    "v1": Kernel("5:cpu,cpuacct:/a\n4:memory:/a/run\n", "memory/a/run/memory.oom_control", V1),
    "v1 and v2": Kernel("4:memory:/a\n0::/b\n", "memory/a/memory.oom_control", V1),
    "v2": Kernel("0::/a/run\n", "a/run/memory.events", V2),
    "none": Kernel("0::/\n", "", VMSTAT),
}


def planted(folder: Path, kernel: Kernel) -> Path:
    """Its files, with two kills; the one in which the run is counted."""
    (folder / "vmstat").write_text(VMSTAT.format(2))
    (folder / "cgroup").write_text(kernel.cgroup)
    counts = folder / "groups" / kernel.counts if kernel.counts else folder / "vmstat"
    counts.parent.mkdir(parents=True, exist_ok=True)
    (folder / "groups").mkdir(exist_ok=True)
    counts.write_text(kernel.text.format(2))
    return counts


def ended(folder: Path, shell: str) -> Exit:
    """The end of a program under a real shim for which the planted files are the kernel's."""
    (folder / "lock").touch()
    options = {
        "lock": str(folder / "lock"),
        "exit": str(folder / "exit"),
        "output": str(folder / "log"),
        "errors": str(folder / "log"),
        "folder": str(folder),
        "grace": "5",
    }
    with tempfile.TemporaryFile() as environment:
        environment.write(b"PATH=" + os.environb[b"PATH"])
        environment.seek(0)
        options["environment"] = str(environment.fileno())
        argv = [
            *(shutil.which("unshare") or "", "--mount", "--propagation", "private", "--"),
            *("/bin/sh", "-c", PLANTS, "sh", str(folder)),
            *python_program.command_line("terrapod_agent.executors.shim"),
            *(f"--{name}={value}" for name, value in options.items()),
            *("--", "/bin/sh", "-c", shell),
        ]
        # The end of its standard input would tell the shim that the agent is gone.
        passed = (environment.fileno(),)
        with subprocess.Popen(argv, stdin=subprocess.PIPE, pass_fds=passed) as shim:
            shim.wait(30)
    found = read_exit(folder / "exit")
    assert found is not None
    return found


def counting(path: Path, text: str) -> str:
    """A line of shell by which the kernel counts one more."""
    return f"printf '{text.format(3)}' > {path}"


@pytest.mark.parametrize("name", KERNELS)
def test_a_count_that_rises_while_a_killed_run_ran_is_the_likely_cause(
    tmp_path: Path, name: str
) -> None:
    counts = planted(tmp_path, KERNELS[name])
    found = ended(tmp_path, f"{counting(counts, KERNELS[name].text)}; kill -9 $$")
    assert (found.signal, found.out_of_memory, found.hard) == (9, True, True)
    assert "(SIGKILL), most likely by the kernel for want of memory" in found.describe()


@pytest.mark.parametrize("name", KERNELS)
def test_a_kill_without_a_higher_count_has_another_cause(tmp_path: Path, name: str) -> None:
    planted(tmp_path, KERNELS[name])
    found = ended(tmp_path, "kill -9 $$")
    assert (found.signal, found.out_of_memory) == (9, False)
    assert "memory" not in found.describe()


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if kernel.counts])
def test_what_is_killed_elsewhere_on_the_machine_is_not_told(tmp_path: Path, name: str) -> None:
    planted(tmp_path, KERNELS[name])
    found = ended(tmp_path, f"{counting(tmp_path / 'vmstat', VMSTAT)}; kill -9 $$")
    assert (found.signal, found.out_of_memory) == (9, False)


def test_a_run_that_ended_by_itself_is_not_said_to_be_killed(tmp_path: Path) -> None:
    counts = planted(tmp_path, KERNELS["v2"])
    found = ended(tmp_path, f"{counting(counts, V2)}; exit 1")
    assert (found.code, found.out_of_memory, found.describe()) == (1, True, "exit code 1")
