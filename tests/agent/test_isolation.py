"""What a hostile configuration gets at, with a real terraform, in each mode of isolation."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from terrapod_agent.executors import kernel
from terrapod_common import wire
from tests.agent import hostile
from tests.agent.test_door_terraform import HOST
from tests.kit.agent_records import PhaseRecord
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, apply_of, phase, quick
from tests.kit.listening import listening
from tests.kit.public import Public, public

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(120),
    pytest.mark.needs("root", "bwrap"),
]

UIDS = "64000-64999"
# As an ordinary user, whom the kernel lets into files of root as before: their owner is the same.
UNSHARE = shutil.which("unshare") or ""
ORDINARY = (UNSHARE, "--user", "--map-user=1000", "--map-group=1000", "--")
# What succeeds without isolation must not change the machine that the tests run on.
GUARDED = (UNSHARE, "--mount", "--propagation", "private", "--")
MODES = {
    "sandbox of root": {"sandbox": "on", "run_uids": UIDS},
    "sandbox of a user": {"sandbox": "on", "run_uids": UIDS},
    "users": {"sandbox": "off", "run_uids": UIDS},
}
HOSTILE_PROGRAM = Path(hostile.__file__).read_bytes()
WAITS = """
resource "terraform_data" "waits" {
  provisioner "local-exec" { command = "while ! test -e go; do sleep 0.1; done" }
}
"""
HOSTILE = """
resource "terraform_data" "tries" {
  provisioner "local-exec" { command = "%(python)s hostile.py" }
}
output "files" {
  value = [for path in jsondecode(file("hostile.json")).files : path if can(file(path))]
}
"""
TWO = """
resource "terraform_data" "first" { input = "made" }
resource "terraform_data" "second" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" { command = "touch up; sleep 60" }
}
"""


@pytest.fixture(scope="session")
def programs() -> Iterator[Public]:
    with _passable() as folder:
        yield public(folder / "programs")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may pass through; those of pytest are closed to others."""
    with _passable() as folder:
        yield folder


@pytest.fixture
async def isolated(server: AgentServer, programs: Public, place: Path) -> AsyncIterator["Isolated"]:
    server.tools["terraform/1.15.5"] = programs.terraform.read_bytes()
    isolated = Isolated(server, programs, place)
    yield isolated
    isolated.close()


class Isolated:
    """An agent in one of the modes, and its runs."""

    def __init__(self, server: AgentServer, programs: Public, place: Path) -> None:
        self.server = server
        self.programs = programs
        self.data = place / "agent"
        self._agent: AgentProcess | None = None

    def start(self, mode: str, **changes: Any) -> AgentProcess:
        settings = quick(self.data, self.server, sandbox_reads=(self.programs.folder,), slots=2)
        before = ORDINARY if mode == "sandbox of a user" else GUARDED
        given = {"sandbox": "off", "run_uids": "", **MODES.get(mode, {}), **changes}
        self._agent = AgentProcess(settings, before, given)
        self._agent.start()
        return self._agent

    async def applied(
        self, files: dict[str, str | bytes], name: str, limits: wire.Limits | None = None
    ) -> PhaseRecord:
        """The apply of a configuration, under way."""
        run: dict[str, Any] = {
            "run_id": f"run-{name}",
            "workspace": name,
            "phase_id": f"plan-{name}",
            "hosts": [HOST],
        }
        plan = self.server.add(phase("plan", files, **run))
        await self.server.until(lambda: plan.ended, 60)
        assert plan.status == "planned", plan.text
        apply = _apply_of(plan, name)
        apply.work.limits = limits or apply.work.limits
        return self.server.add(apply)

    def tree(self, name: str) -> Path:
        return self.data.parent / "runs" / f"run-{name}" / "tree"

    def processes(self, name: str) -> list[int]:
        tree = str(self.tree(name))
        return [pid for pid in kernel.processes() if _folder(pid) == tree]

    def close(self) -> None:
        if self._agent:
            self._agent.close()


def aims(isolated: Isolated, agent: AgentProcess, sockets: list[str]) -> dict[str, list[str]]:
    """Where the hostile configuration looks."""
    [tool] = (isolated.data / "tools").glob("*/terraform")
    victim = isolated.tree("victim")
    private = ["identity.json", "identity.pem", "agent.lock", "phases/apply-victim.1/ticket.json"]
    files = [str(isolated.data / name) for name in private]
    return {
        "files": [*files, str(victim / "main.tf"), "/etc/shadow", f"{victim.parent}/plan.tfplan"],
        "folders": [files[0], str(victim.parent), f"{victim}/main.tf"],
        "tools": [str(tool)],
        "sockets": sockets if kernel_scopes() else sockets[:1],
        "processes": [str(pid) for pid in (agent.pid, *isolated.processes("victim"))],
        "doors": [],
    }


def kernel_scopes() -> bool:
    """Whether this kernel can keep abstract sockets apart: Linux 6.12 and newer."""
    release = os.uname().release.split("-")[0].split(".")
    return (int(release[0]), int(release[1])) >= (6, 12)


async def tried(
    isolated: Isolated, agent: AgentProcess, place: Path
) -> tuple[list[str], PhaseRecord]:
    """What a hostile configuration could do beside another run that is under way."""
    victim = await isolated.applied({"main.tf": WAITS}, "victim")
    await isolated.server.until(lambda: isolated.processes("victim"), 60)
    with listening(place) as sockets:
        files: dict[str, str | bytes] = {
            "main.tf": HOSTILE % {"python": isolated.programs.python},
            "hostile.py": HOSTILE_PROGRAM,
            "hostile.json": json.dumps(aims(isolated, agent, sockets)),
        }
        apply = await isolated.applied(files, "hostile")
        await isolated.server.until(lambda: apply.ended, 60)
    (isolated.tree("victim") / "go").touch()
    await isolated.server.until(lambda: victim.ended, 60)
    assert (victim.status, apply.status) == ("applied", "applied"), apply.text
    [line] = [line for line in apply.text.splitlines() if "hostile: " in line]
    return json.loads(line.partition("hostile: ")[2]), apply


@pytest.mark.parametrize("mode", list(MODES))
async def test_a_hostile_configuration_gets_nothing(
    isolated: Isolated, mode: str, place: Path
) -> None:
    agent = isolated.start(mode)
    found, apply = await tried(isolated, agent, place)
    assert found == []
    assert [path.name for path in (isolated.data / "tools").glob("*/*")] == ["terraform"]
    outputs = json.loads(apply.states[-1][0])["outputs"]
    assert outputs["files"]["value"] == []


async def test_without_isolation_it_gets_nearly_all_and_the_agent_says_so(
    isolated: Isolated, place: Path
) -> None:
    agent = isolated.start("none")
    found, _ = await tried(isolated, agent, place)
    assert f"read {isolated.data}/identity.json" in found
    assert any(name.startswith("environment") for name in found)
    assert "runs are not isolated" in agent.output.read_text()


@pytest.mark.parametrize("mode", list(MODES))
async def test_a_canceled_apply_leaves_its_state_whole(isolated: Isolated, mode: str) -> None:
    isolated.start(mode)
    apply = await isolated.applied({"main.tf": TWO}, "two")
    await isolated.server.until((isolated.tree("two") / "up").exists, 60)
    isolated.server.order(apply, "cancel")
    await isolated.server.until(lambda: apply.ended, 60)
    assert apply.status == "canceled", apply.text
    content, final = apply.states[-1]
    assert final
    assert [resource["name"] for resource in json.loads(content)["resources"]][:1] == ["first"]
    assert "Interrupt received" in apply.text
    await isolated.server.until(lambda: not isolated.processes("two"))


@pytest.mark.parametrize("mode", list(MODES))
async def test_a_killed_shim_leaves_the_state_whole_too(isolated: Isolated, mode: str) -> None:
    isolated.start(mode)
    apply = await isolated.applied({"main.tf": TWO}, "two")
    await isolated.server.until((isolated.tree("two") / "up").exists, 60)
    [shim] = [pid for pid in kernel.processes() if _is_shim(pid, isolated.data)]
    began = time.monotonic()
    os.kill(shim, signal.SIGKILL)
    await isolated.server.until(lambda: apply.ended, 60)
    assert time.monotonic() - began < 15
    assert apply.status == "errored"
    names = [resource["name"] for resource in json.loads(apply.states[-1][0])["resources"]]
    assert "first" in names
    assert not isolated.processes("two")


async def test_each_run_has_a_user_of_its_own(isolated: Isolated) -> None:
    isolated.start("users")
    victims = [await isolated.applied({"main.tf": WAITS}, name) for name in ("one", "two")]
    await isolated.server.until(lambda: all(map(isolated.processes, ("one", "two"))), 60)
    first = [isolated.processes(name)[0] for name in ("one", "two")]
    owners = {os.stat(f"/proc/{pid}").st_uid for pid in first}  # noqa: PTH116 - of the kernel
    assert len(owners) == 2
    assert owners <= set(range(64000, 65000))
    for name in ("one", "two"):
        (isolated.tree(name) / "go").touch()
    await isolated.server.until(lambda: all(victim.ended for victim in victims), 60)


async def test_a_sandbox_that_cannot_be_had_is_told_at_the_start(
    isolated: Isolated, place: Path
) -> None:
    (place / "bin").mkdir()
    for name in ("setpriv", "sh"):
        (place / "bin" / name).symlink_to(shutil.which(name) or "")
    agent = isolated.start("none", sandbox="on", PATH=str(place / "bin"))
    assert await agent.ended() == 1
    assert "`sandbox` is `on`, but bwrap is not installed" in agent.output.read_text()


@contextmanager
def _passable() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="terrapod-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _apply_of(plan: PhaseRecord, name: str) -> PhaseRecord:
    apply = apply_of(plan, run_id=plan.work.run_id, workspace=name)
    apply.work = msgspec.structs.replace(apply.work, phase_id=f"apply-{name}", hosts=[HOST])
    return apply


def _folder(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def _is_shim(pid: int, data: Path) -> bool:
    words = kernel.read(f"/proc/{pid}/cmdline")
    return "executors.shim" in words and f"--lock={data}" in words
