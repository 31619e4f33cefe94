"""The server goes away, loses answers, forgets: no byte is lost or doubled."""

from pathlib import Path

import anyio
import pytest

from terrapod_agent import enroll
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, phase, quick, running
from tests.kit.scripted_terraform import script, scripted_terraform

pytestmark = pytest.mark.anyio


async def test_a_log_survives_an_outage(data: Path, tmp_path: Path) -> None:
    server = AgentServer(tmp_path)
    server.tools["terraform/1.15.5"] = scripted_terraform()
    lines = [["print", f"line {number}"] for number in range(2000)]
    steps = [["print", "before"], ["wait", f"{tmp_path}/go"], *lines, ["touch", f"{tmp_path}/done"]]
    async with server.up():
        settings = quick(data, server)
        identity = await enroll.join(settings)
    plan = server.add(phase("plan", script(plan=steps)))
    async with running(settings, identity):
        async with server.up():
            await server.until(lambda: b"before" in plan.log)
        (tmp_path / "go").touch()
        await server.until((tmp_path / "done").exists)
        async with server.up():
            await server.until(lambda: plan.ended)
    expected = "".join(f"line {number}\n" for number in range(2000))
    assert plan.text.endswith(f"before\n{expected}")


@pytest.mark.parametrize("call", ["log", "report", "artifact_put", "next_work", "tool"])
@pytest.mark.parametrize("how", ["lose_answer", "lose_question", "status"])
async def test_every_call_may_fail_once(
    server: AgentServer, data: Path, call: str, how: str
) -> None:
    server.fault(call, how, times=2)
    steps = [["print", f"line {number}"] for number in range(100)]
    plan = server.add(phase("plan", script(plan=steps)))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
        await server.until(lambda: not list((data / "phases").iterdir()))
    assert plan.status == "planned"
    assert plan.text.endswith("".join(f"line {number}\n" for number in range(100)))
    assert not server.faults


async def test_a_server_that_lost_a_part_of_the_log_gets_it_again(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    steps = [["print", "one"], ["wait", f"{tmp_path}/go"], ["print", "two"]]
    plan = server.add(phase("plan", script(plan=steps)))
    async with running(quick(data, server)):
        await server.until(lambda: b"one" in plan.log)
        whole = plan.text
        del plan.log[5:]
        (tmp_path / "go").touch()
        await server.until(lambda: plan.ended)
    assert plan.text == f"{whole}two\n"


@pytest.mark.parametrize("kept", [True, False])
async def test_a_lease_that_ended_while_the_server_was_away_is_asked_for_again(
    data: Path, tmp_path: Path, *, kept: bool
) -> None:
    server = AgentServer(tmp_path)
    server.tools["terraform/1.15.5"] = scripted_terraform()
    server.lease = 0.6
    init = [
        ["touch", f"{tmp_path}/up"],
        ["wait", f"{tmp_path}/go"],
        ["touch", f"{tmp_path}/inited"],
    ]
    steps = script(init=init, apply=[["touch", f"{tmp_path}/ran"], ["state", 3]])
    async with server.up():
        settings = quick(data, server)
        identity = await enroll.join(settings)
    apply = server.add(apply_phase(steps, lease_seconds=server.lease))
    async with running(settings, identity):
        async with server.up():
            await server.until((tmp_path / "up").exists)
        (tmp_path / "go").touch()
        await server.until((tmp_path / "inited").exists)
        await anyio.sleep(2 * server.lease)  # it ends now, and nobody can tell
        assert not (tmp_path / "ran").exists()
        apply.fence += not kept
        server.lease = 30
        async with server.up():
            await server.until(lambda: apply.ended or apply.late)
    assert (tmp_path / "ran").exists() == kept
    if kept:
        assert apply.status == "applied"
    else:
        assert not apply.late[0].began
