"""States where runs are isolated: near a memory limit, and kept by snapshots."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from terrapod_common import wire
from tests.agent.test_door_terraform import READING
from tests.agent.test_isolation import MODES, TWO, Isolated, place, programs
from tests.agent.test_snapshots import LARGE, backend, made
from tests.kit.agent_records import PhaseRecord
from tests.kit.agent_server import AgentServer
from tests.kit.public import Public

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
__all__ = ["place", "programs"]

WAITS = """
resource "terraform_data" "waits" {
  depends_on = [terraform_data.large]
  provisioner "local-exec" { command = "echo $$ > up; COMMAND" }
}
"""


EATS = """
import time
kept = bytearray(650_000_000)
kept[::4096] = b"x" * len(kept[::4096])
time.sleep(60)
"""


@pytest.fixture
async def isolated(server: AgentServer, programs: Public, place: Path) -> AsyncIterator[Isolated]:
    server.tools["terraform/1.15.5"] = programs.terraform.read_bytes()
    isolated = Isolated(server, programs, place)
    yield isolated
    isolated.close()


@pytest.mark.parametrize("mode", list(MODES))
async def test_near_its_memory_limit_terraform_saves_its_state(
    isolated: Isolated, mode: str
) -> None:
    isolated.start(mode)
    eats = TWO.replace("touch up; sleep 60", f"exec {isolated.programs.python} eat.py")
    files: dict[str, str | bytes] = {"main.tf": eats, "eat.py": EATS}
    limits = wire.Limits(grace_seconds=20, state_every_seconds=0.1, memory_bytes=700_000_000)
    apply = await isolated.applied(files, "two", limits)
    await isolated.server.until(lambda: apply.ended, 60)
    assert apply.status == "errored", apply.text
    assert "interrupted near its memory limit of 700 MB" in apply.reports[-1].message
    names = [resource["name"] for resource in json.loads(apply.states[-1][0])["resources"]]
    assert "first" in names


async def applying(
    isolated: Isolated, tmp_path: Path, command: str, limits: wire.Limits | None = None, **more: str
) -> PhaseRecord:
    """An apply with snapshots that has made its large state and is at its last object."""
    main = LARGE + WAITS.replace("COMMAND", command)
    apply = await isolated.applied({"main.tf": main, **more}, "web", limits)
    assert backend(apply, tmp_path) == "cloud"
    await isolated.server.until((isolated.tree("web") / "up").exists, 60)
    return apply


@pytest.mark.parametrize("mode", MODES)
async def test_a_large_state_comes_home(isolated: Isolated, mode: str, tmp_path: Path) -> None:
    isolated.start(mode)
    apply = await applying(isolated, tmp_path, "true")
    await isolated.server.until(lambda: apply.ended, 60)
    assert apply.status == "applied", apply.text
    assert made(apply) == 80


@pytest.mark.parametrize("mode", MODES)
async def test_a_cancel_saves_all(isolated: Isolated, mode: str, tmp_path: Path) -> None:
    isolated.start(mode)
    apply = await applying(isolated, tmp_path, "sleep 60")
    isolated.server.order(apply, "cancel")
    await isolated.server.until(lambda: apply.ended, 60)
    assert apply.status == "canceled", apply.text
    assert not apply.reports[-1].hard
    assert made(apply) == 80


@pytest.mark.parametrize("mode", MODES)
async def test_a_killed_agent_leaves_all_to_the_next(
    isolated: Isolated, mode: str, tmp_path: Path
) -> None:
    agent = isolated.start(mode)
    apply = await applying(isolated, tmp_path, "sleep 60")
    agent.send(signal.SIGKILL)
    await agent.ended()
    isolated.start(mode)
    await isolated.server.until(lambda: apply.ended, 60)
    assert apply.status == "errored"
    assert apply.reports[-1].state_uploaded
    assert made(apply) == 80


@pytest.mark.parametrize("mode", MODES)
async def test_near_its_memory_limit_all_is_saved(
    isolated: Isolated, mode: str, tmp_path: Path
) -> None:
    eats = EATS.replace("650_000_000", "900_000_000")
    isolated.start(mode)
    limits = wire.Limits(grace_seconds=5, state_every_seconds=0.1, memory_bytes=900_000_000)
    command = f"{isolated.programs.python} eats.py"
    apply = await applying(isolated, tmp_path, command, limits, **{"eats.py": eats})
    await isolated.server.until(lambda: apply.ended, 60)
    assert apply.status == "errored"
    assert "memory limit" in apply.reports[-1].message
    assert not apply.reports[-1].hard
    assert made(apply) == 80


@pytest.mark.parametrize("mode", MODES)
async def test_a_run_reaches_its_door_and_the_keeper_of_its_state(
    isolated: Isolated, mode: str, tmp_path: Path
) -> None:
    isolated.start(mode)
    files: dict[str, str | bytes] = {"main.tf": LARGE + READING.replace("NAME", "network")}
    apply = await isolated.applied(files, "web")
    assert backend(apply, tmp_path) == "cloud"
    await isolated.server.until(lambda: apply.ended, 60)
    assert apply.status == "applied", apply.text
    assert made(apply) == 80
    assert json.loads(apply.states[-1][0])["outputs"]["address"]["value"] == "at 10.0.0.1"
