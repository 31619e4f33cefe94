"""A real terraform that cannot write its state: nothing of it is lost, nor shown."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_of, phase, quick, running
from tests.kit.terraforms import real_terraform

pytestmark = pytest.mark.anyio

FILLS = """
resource "terraform_data" "made" {
  input = "a-value-of-the-state"
  provisioner "local-exec" {
    command = "dd if=/dev/zero of=../fill bs=1k 2>/dev/null; true"
  }
}
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of one megabyte."""
    folder = tmp_path / "runs"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may make a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_first_state_for_which_there_was_no_space_is_kept(
    server: AgentServer, data: Path, tmp_path: Path, small: Path
) -> None:
    server.tools["terraform/1.15.5"] = real_terraform(tmp_path / "tool").read_bytes()
    async with running(quick(data, server, free_bytes=0)):
        plan = server.add(phase("plan", {"main.tf": FILLS}))
        await server.until(lambda: plan.ended, 60)
        assert plan.status == "planned", plan.text
        await server.until(lambda: not list((data / "phases").iterdir()))
        apply = server.add(apply_of(plan))
        await server.until(lambda: apply.ended, 60)
        await server.until(lambda: not list((data / "phases").iterdir()))
    assert apply.status == "errored"
    assert apply.reports[-1].state_uploaded
    assert (apply.reports[-1].additions, apply.reports[-1].destructions) == (1, 0)
    content, final = apply.states[-1]
    assert final
    assert json.loads(content)["resources"][0]["name"] == "made"
    assert "terraform printed the state here" in apply.text
    assert "a-value-of-the-state" not in apply.text
