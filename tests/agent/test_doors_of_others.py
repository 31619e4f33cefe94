"""What a hostile configuration gets from the door, and the state server, of another run."""

import json
import re
from pathlib import Path

import pytest

from tests.agent.hostile import SHOWN
from tests.agent.test_door_terraform import READING
from tests.agent.test_isolated_states import applying, isolated
from tests.agent.test_isolation import HOSTILE, HOSTILE_PROGRAM, MODES, Isolated, place, programs
from tests.agent.test_snapshots import made
from tests.kit.agent_records import PhaseRecord

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.needs("root", "bwrap"),
]
__all__ = ["isolated", "place", "programs"]

# Read once the run goes on, so through its door.
LATE = READING.replace("NAME", "network").replace(
    'backend = "remote"', 'backend = "remote"\n  depends_on = [terraform_data.waits]'
)
AIMS = ("files", "folders", "tools", "sockets", "processes")


def doors(isolated: Isolated, name: str) -> list[str]:
    """The ports on which a run is served: its door and the keeper of its state."""
    config = (isolated.tree(name).parent / "terraform.rc").read_text()
    return sorted(set(re.findall(r"http://127\.0\.0\.1:(\d+)/", config)))


async def attacked(isolated: Isolated, ports: list[str]) -> tuple[PhaseRecord, list[str]]:
    """A hostile run that keeps its connections, and what it could do."""
    aims = {**{name: [] for name in AIMS}, "doors": ports}
    files: dict[str, str | bytes] = {
        "main.tf": HOSTILE % {"python": isolated.programs.python},
        "hostile.py": HOSTILE_PROGRAM,
        "hostile.json": json.dumps(aims),
    }
    apply = await isolated.applied(files, "hostile")
    await isolated.server.until(lambda: "hostile: " in apply.text or apply.ended, 90)
    found = re.findall(r"hostile: (\[.*\])", apply.text)
    assert found, apply.text
    return apply, json.loads(found[0])


async def finish(isolated: Isolated, apply: PhaseRecord, name: str) -> None:
    """Let a run go on to its end."""
    (isolated.tree(name) / "go").touch()
    await isolated.server.until(lambda: apply.ended, 60)
    assert apply.status == "applied", apply.text


async def victim_of(isolated: Isolated, tmp_path: Path) -> PhaseRecord:
    """A run that has its state at a state server, and reads through its door when it goes on."""
    command = "while ! test -e go; do sleep 0.1; done"
    return await applying(isolated, tmp_path, command, None, **{"reading.tf": LATE})


@pytest.mark.parametrize("mode", list(MODES))
async def test_the_doors_of_a_run_serve_nobody_else(
    isolated: Isolated, mode: str, tmp_path: Path
) -> None:
    isolated.start(mode)
    victim = await victim_of(isolated, tmp_path)
    ports = doors(isolated, "web")
    assert len(ports) == 2
    hostile, found = await attacked(isolated, ports)
    if mode == "sandbox of a user":
        # Nobody can tell the two apart: the password keeps the stranger out, not at a distance.
        answers = {f"an answer at {port} to {shown}" for port in ports for shown in SHOWN}
        assert set(found) == {*answers, *(f"stay at {port}" for port in ports)}
        await finish(isolated, hostile, "hostile")
        await finish(isolated, victim, "web")
    else:
        assert found == []
        await finish(isolated, victim, "web")  # while the stranger keeps what it has opened
        assert not hostile.ended
        await finish(isolated, hostile, "hostile")
    assert made(victim) == 80
    assert json.loads(victim.states[-1][0])["outputs"]["address"]["value"] == "at 10.0.0.1"
