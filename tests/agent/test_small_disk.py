"""A real terraform that cannot write its state: nothing of it is lost, nor shown."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.test_snapshots import LARGE
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_of, phase, quick, running
from tests.kit.disks import small_disk
from tests.kit.terraforms import real_terraform

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

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
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.needs("root")
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


@pytest.mark.needs("root")
async def test_a_snapshot_for_which_there_is_no_space_is_sent_again(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    """The disk of the agent is another one than that of the runs, and terraform waits for it."""
    server.tools["terraform/1.15.5"] = real_terraform(tmp_path / "tool").read_bytes()
    main = LARGE + FILLS.replace("of=../fill bs=1k", f"of={data}/.filler bs=1k")
    main = main.replace('"made" {', '"made" {\n  depends_on = [terraform_data.large]')
    with small_disk(data, 24) as disk:
        async with running(quick(data, server, free_bytes=1024)):
            plan = server.add(phase("plan", {"main.tf": main}))
            await server.until(lambda: plan.ended, 60)
            assert plan.status == "planned", plan.text
            apply = server.add(apply_of(plan))
            await server.until(
                lambda: any("full" in beat.trouble for beat in server.heartbeats), 60
            )
            await server.until(lambda: "to restore the connection" in apply.text, 60)
            assert not apply.ended
            disk.free()
            await server.until(lambda: apply.ended, 60)
            await server.until(lambda: not list((data / "phases").iterdir()))
    assert apply.status == "applied"
    content, final = apply.states[-1]
    assert final
    assert apply.reports[-1].state_uploaded
    made = [instance for one in json.loads(content)["resources"] for instance in one["instances"]]
    assert len(made) == 81
