"""The agent is killed, told to end, or its shim dies; nothing of terraform runs on unseen."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, apply_phase, phase, quick
from tests.kit.scripted_terraform import alive, parent, script

pytestmark = pytest.mark.anyio


async def test_a_kill_during_plan_leaves_nothing_and_the_phase_to_others(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    steps = [["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    plan = server.add(phase("plan", script(plan=steps)))
    process.start()
    await server.until((tmp_path / "pid").exists)
    process.send(signal.SIGKILL)
    await server.until(lambda: not alive(tmp_path / "pid"))
    process.start()
    await server.until(lambda: not list((data / "phases").iterdir()))
    assert plan.status == "planning"


async def test_a_kill_during_apply_brings_state_and_log_after_the_restart(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    steps = [["print", "one"], ["state", 5], ["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    apply = server.add(apply_phase(script(apply=steps)))
    process.start()
    await server.until(lambda: b"one" in apply.log and (tmp_path / "pid").exists())
    process.send(signal.SIGKILL)
    await server.until(lambda: not alive(tmp_path / "pid"))
    process.start()
    await server.until(lambda: apply.ended)
    assert apply.status == "errored"
    assert "the agent was stopped during the apply" in apply.reports[-1].message
    content, final = apply.states[-1]
    assert final
    assert b'"serial": 99' in content
    assert apply.text.count("one\n") == 1
    assert "interrupted\n" in apply.text


async def test_a_restarted_agent_waits_for_the_survivor(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    steps = [
        *(["ignore-interrupts"], ["pid", f"{tmp_path}/pid"], ["wait", f"{tmp_path}/go"]),
        ["state", 6],
    ]
    apply = server.add(apply_phase(script(apply=steps)))
    process.start()
    await server.until((tmp_path / "pid").exists)
    process.send(signal.SIGKILL)
    await process.ended()
    process.start()
    beats = len(server.heartbeats)
    await server.until(lambda: server.heartbeats[beats:] and server.heartbeats[-1].holding)
    assert alive(tmp_path / "pid")
    (tmp_path / "go").touch()
    await server.until(lambda: apply.ended)
    assert apply.status == "applied"
    assert b'"serial": 6' in apply.states[-1][0]


async def test_a_fence_that_went_on_meanwhile_gets_the_state_as_recovered(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    steps = [["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    apply = server.add(apply_phase(script(apply=steps)))
    process.start()
    await server.until((tmp_path / "pid").exists)
    process.send(signal.SIGKILL)
    apply.fence += 1
    await server.until(lambda: not alive(tmp_path / "pid"))
    process.start()
    await server.until(lambda: apply.recovered)
    assert b'"serial": 99' in apply.recovered[0]
    await server.until(lambda: not list((data / "phases").iterdir()))


async def test_a_killed_shim_interrupts_terraform(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    steps = [["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    apply = server.add(apply_phase(script(apply=steps)))
    process.start()
    await server.until((tmp_path / "pid").exists)
    os.kill(parent(tmp_path / "pid"), signal.SIGKILL)
    await server.until(lambda: apply.ended)
    assert apply.status == "errored"
    assert "watches over terraform was killed" in apply.reports[-1].message
    assert b'"serial": 99' in apply.states[-1][0]


async def test_the_death_of_terraform_is_explained_in_log_and_run(
    server: AgentServer, data: Path, process: AgentProcess
) -> None:
    apply = server.add(apply_phase(script(apply=[["print", "one"], ["state", 5], ["kill", 9]])))
    process.start()
    await server.until(lambda: apply.ended)
    message = apply.reports[-1].message
    assert "killed by signal 9 (SIGKILL)" in message
    assert "its peak was " in message
    assert f"Error: {message}\n" in apply.text
    assert b'"serial": 5' in apply.states[-1][0]


async def test_the_first_sigterm_finishes_and_the_second_interrupts(
    server: AgentServer, process: AgentProcess, tmp_path: Path
) -> None:
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"]]
    plan = server.add(phase("plan", script(plan=steps)))
    process.start()
    await server.until((tmp_path / "up").exists)
    process.send(signal.SIGTERM)
    await server.until(lambda: server.heartbeats and server.heartbeats[-1].draining)
    (tmp_path / "go").touch()
    assert await process.ended() == 0
    assert plan.status == "planned"

    other = phase("plan", script(plan=[["touch", f"{tmp_path}/2"], ["wait", "x"]]), phase_id="p-2")
    server.add(other)
    process.start()
    await server.until((tmp_path / "2").exists)
    process.send(signal.SIGTERM)
    await server.until(lambda: server.heartbeats[-1].draining)
    process.send(signal.SIGTERM)
    assert await process.ended() == 0
    assert other.status == "errored"
    assert "interrupted" in other.text


async def test_the_third_signal_kills(
    server: AgentServer, process: AgentProcess, tmp_path: Path
) -> None:
    steps = [["ignore-interrupts"], ["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    server.add(phase("plan", script(plan=steps)))
    process.start()
    await server.until((tmp_path / "pid").exists)
    process.send(signal.SIGTERM)
    await server.until(lambda: server.heartbeats[-1].draining)
    process.send(signal.SIGINT)
    process.send(signal.SIGTERM)
    assert await process.ended() == 0
    await server.until(lambda: not alive(tmp_path / "pid"))


async def test_once_ends_after_one_phase(server: AgentServer, process: AgentProcess) -> None:
    plan = server.add(phase("plan", script()))
    process.start("--once")
    assert await process.ended() == 0
    assert plan.status == "planned"


async def test_an_idle_agent_ends(server: AgentServer, process: AgentProcess) -> None:
    process.start("--idle-exit", "0.1")
    assert await process.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_to_the_whole_group_reaches_the_agent_alone(
    server: AgentServer, data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """As a terminal sends it, and a supervisor that ends all of its service."""
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"], ["state", 2]]
    process = AgentProcess(quick(data, server), before=(shutil.which("setsid") or "",))
    try:
        apply = server.add(apply_phase(script(apply=steps)))
        process.start()
        await server.until((tmp_path / "up").exists)
        os.killpg(process.pid, number)
        if number is signal.SIGHUP:  # it ends an agent, which then is as one that was killed
            await process.ended()
            process.start()
        else:
            await server.until(lambda: server.heartbeats[-1].draining)
            (tmp_path / "go").touch()
            assert await process.ended() == 0
        await server.until(lambda: apply.ended)
    finally:
        process.close()
    assert apply.status == ("errored" if number is signal.SIGHUP else "applied")
    assert json.loads(apply.states[-1][0])["serial"] == (99 if number is signal.SIGHUP else 2)
