"""What a terraform leaves and nobody here may end is named, however terraform ended.

The agent is root without the right to signal others, and what is left has changed its user.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from terrapod_agent.executors import kernel
from terrapod_agent.executors.base import Exit
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, phase, quick
from tests.kit.scripted_terraform import parent, script

pytestmark = pytest.mark.anyio

USER = 63_999
ALONE = (shutil.which("setpriv") or "", "--bounding-set", "-kill", "--")
LEAVES = """
child = os.fork()
if not child:
    pathlib.Path("PID").write_text(str(os.getpid()))
    os.setresuid(USER, USER, USER)
    os.execv("/bin/sleep", ["sleep", "600"])
while pathlib.Path(f"/proc/{child}/comm").read_text() != "sleep\\n":
    time.sleep(0.01)
"""


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    """The file with the process that is left, which is ended with the test."""
    file = tmp_path / "left"
    yield file
    if file.exists():
        os.kill(written(file), signal.SIGKILL)


@pytest.fixture
def process(server: AgentServer, data: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(quick(data, server), ALONE)
    yield process
    process.close()


def written(file: Path) -> int:
    return int(file.read_text())


def leaves(file: Path) -> list[str]:
    return ["python", LEAVES.replace("PID", str(file)).replace("USER", str(USER))]


@pytest.mark.needs("root")
@pytest.mark.parametrize("code", [2, 1])
async def test_a_process_that_cannot_be_ended_is_named(
    server: AgentServer, process: AgentProcess, left: Path, code: int
) -> None:
    plan = server.add(phase("plan", script(plan=[leaves(left), ["exit", code]])))
    process.start()
    await server.until(lambda: plan.ended)
    pid = written(left)
    assert kernel.start_time(pid)
    assert f"left {pid} sleep, which could not be ended" in plan.text
    if code == 1:
        told = f"(exit code 1; it left {pid} sleep, which could not be ended)"
        assert told in plan.reports[-1].message
    assert plan.status == ("planned" if code == 2 else "errored")


@pytest.mark.needs("root")
async def test_it_is_named_where_the_shim_was_killed_too(
    server: AgentServer, process: AgentProcess, left: Path, tmp_path: Path
) -> None:
    steps = [leaves(left), ["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    plan = server.add(phase("plan", script(plan=steps)))
    process.start()
    await server.until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    os.kill(parent(tmp_path / "pid"), signal.SIGKILL)
    await server.until(lambda: plan.ended)
    assert plan.status == "errored"
    assert f"left {written(left)} sleep, which could not be ended" in plan.text


def test_the_words_for_what_is_left() -> None:
    told = Exit(code=0, left=("7 sleep", "8 sh"))
    assert told.describe() == "exit code 0; it left 7 sleep, 8 sh, which could not be ended"
    assert not told.explained
    assert not told.hard


def test_a_memory_limit_is_told_as_it_was_set() -> None:
    assert "its memory limit of 128 MiB;" in Exit(code=1, limit=128 * 2**20, peak=1).describe()
    assert "its memory limit of 700 MB;" in Exit(code=1, limit=700_000_000, peak=1).describe()
