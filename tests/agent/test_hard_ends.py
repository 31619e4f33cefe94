"""Applies whose terraform did not end by itself, whoever ended it, are said to have ended hard."""

import os
import signal
from pathlib import Path

import anyio
import pytest

from terrapod_agent.executors.base import Exit
from terrapod_agent.work import apply_outcome
from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import AgentProcess, apply_phase, quick, running
from tests.kit.scripted_terraform import alive, parent, script

pytestmark = pytest.mark.anyio


def deaf(tmp_path: Path) -> dict[str, str | bytes]:
    """An apply that has written a state and does not heed an interrupt."""
    steps = [["state", 3], ["ignore-interrupts"], ["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    return script(apply=steps)


def kill(pid_file: Path) -> None:
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


async def test_a_terraform_that_the_kernel_kills(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    apply = server.add(apply_phase(deaf(tmp_path)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "pid").exists)
        kill(tmp_path / "pid")
        await server.until(lambda: apply.ended)
    last = apply.reports[-1]
    assert (last.status, last.hard, last.state_uploaded) == ("errored", True, True)
    assert "signal 9" in last.message
    assert "Terraform did not end by itself" in apply.text
    assert b'"serial": 3' in apply.states[-1][0]


@pytest.mark.parametrize("how", ["cancel", "limit"])
async def test_a_terraform_that_is_killed_after_its_grace(
    server: AgentServer, data: Path, tmp_path: Path, how: str
) -> None:
    seconds = 1.5 if how == "limit" else 600
    limits = wire.Limits(grace_seconds=0.2, phase_seconds=seconds)
    apply = server.add(apply_phase(deaf(tmp_path), limits=limits))
    async with running(quick(data, server)):
        await server.until((tmp_path / "pid").exists)
        if how == "cancel":
            server.order(apply, "cancel")
        await server.until(lambda: apply.ended)
    last = apply.reports[-1]
    assert (last.status, last.hard) == ("canceled" if how == "cancel" else "errored", True)
    assert "signal 9" in last.message


@pytest.mark.parametrize("order", ["cancel", "force_cancel"])
async def test_a_canceled_terraform_that_wrote_its_state_ended_by_itself(
    server: AgentServer, data: Path, tmp_path: Path, order: wire.OrderKind
) -> None:
    steps = [["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    apply = server.add(apply_phase(script(apply=steps)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "pid").exists)
        server.order(apply, order)
        await server.until(lambda: apply.ended)
    soft = order == "cancel"
    assert (apply.status, apply.reports[-1].hard) == ("canceled", not soft)
    assert bool(apply.states and b'"serial": 99' in apply.states[-1][0]) == soft


async def test_a_terraform_that_was_interrupted_twice(server: AgentServer, data: Path) -> None:
    said = "Two interrupts received. Exiting immediately. Note that data loss may have occurred."
    apply = server.add(apply_phase(script(apply=[["state", 3], ["print", said], ["exit", 1]])))
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
    assert (apply.status, apply.reports[-1].hard) == ("errored", True)
    assert "interrupted twice" in apply.reports[-1].message


async def test_an_apply_that_failed_by_itself(server: AgentServer, data: Path) -> None:
    apply = server.add(apply_phase(script(apply=[["state", 3], ["exit", 1]])))
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
    assert (apply.status, apply.reports[-1].hard) == ("errored", False)


@pytest.mark.parametrize("code", [2, 11, 137])
async def test_a_terraform_that_crashes(server: AgentServer, data: Path, code: int) -> None:
    apply = server.add(apply_phase(script(apply=[["state", 3], ["exit", code]])))
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
    assert (apply.status, apply.reports[-1].hard) == ("errored", True)


async def test_an_apply_that_never_began(server: AgentServer, data: Path) -> None:
    apply = server.add(apply_phase(script(init=[["exit", 137]])))
    async with running(quick(data, server)):
        await server.until(lambda: apply.ended)
    assert (apply.status, apply.reports[-1].hard) == ("errored", False)


async def test_shim_and_terraform_killed_together(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    apply = server.add(apply_phase(deaf(tmp_path)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "pid").exists)
        os.kill(parent(tmp_path / "pid"), signal.SIGKILL)
        kill(tmp_path / "pid")
        await server.until(lambda: apply.ended)
    last = apply.reports[-1]
    assert (last.status, last.hard) == ("errored", True)
    assert "nothing tells how terraform ended" in last.message


async def test_a_machine_that_was_killed_and_is_back_within_the_lease(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    apply = server.add(apply_phase(deaf(tmp_path)))
    process.start()
    await server.until((tmp_path / "pid").exists)
    process.send(signal.SIGKILL)
    os.kill(parent(tmp_path / "pid"), signal.SIGKILL)
    kill(tmp_path / "pid")
    await server.until(lambda: not alive(tmp_path / "pid"))
    process.start()
    await server.until(lambda: apply.ended)
    last = apply.reports[-1]
    assert (last.status, last.hard, last.state_uploaded) == ("errored", True, True)
    assert "nothing tells how terraform ended" in last.message
    assert b'"serial": 3' in apply.states[-1][0]


async def test_two_signals_to_the_agent_and_a_terraform_that_does_not_heed_them(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    limits = wire.Limits(grace_seconds=0.2)
    apply = server.add(apply_phase(deaf(tmp_path), limits=limits))
    process.start()
    await server.until((tmp_path / "pid").exists)
    process.send(signal.SIGTERM)
    await server.until(lambda: server.heartbeats[-1].draining)
    process.send(signal.SIGTERM)
    assert await process.ended() == 0
    assert (apply.status, apply.reports[-1].hard) == ("errored", True)


async def test_an_agent_killed_before_terraform_began_says_that_nothing_was_applied(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    steps = [["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    apply = server.add(apply_phase(script(init=steps)))
    process.start()
    await server.until((tmp_path / "pid").exists)
    process.send(signal.SIGKILL)
    await process.ended()
    process.start()
    await server.until(lambda: apply.ended)
    last = apply.reports[-1]
    assert (last.status, last.hard, last.state_uploaded) == ("errored", False, True)
    assert "nothing was applied" in last.message


async def test_the_end_of_a_lost_apply_is_told_late(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    server.every = 0.05
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"], ["print", "the rest"]]
    apply = server.add(apply_phase(script(apply=[*steps, ["state", 7], ["exit", 1]])))
    async with running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        apply.fence += 1
        beats = len(server.heartbeats)
        await server.until(lambda: len(server.heartbeats) > beats + 2)
        (tmp_path / "go").touch()
        await server.until(lambda: apply.late)
        await server.until(lambda: not list((data / "phases").iterdir()))
    [said] = apply.late
    assert (said.began, said.hard, said.state) == (True, False, "handed_in")
    assert said.ended == "terraform had ended with exit code 1"
    assert apply.text.endswith("the rest\n")
    assert server.calls.index("recovered_state") < server.calls.index("late_log")
    assert server.calls.index("late_log") < server.calls.index("late_result")


@pytest.mark.parametrize("where", ["init", "apply"])
async def test_an_agent_that_comes_back_too_late_says_that_it_has_no_state(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path, where: str
) -> None:
    steps = [["ignore-interrupts"], ["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    apply = server.add(apply_phase(script(**{where: steps})))
    process.start()
    await server.until((tmp_path / "pid").exists)
    process.send(signal.SIGKILL)
    apply.fence += 1
    kill(tmp_path / "pid")
    process.start()
    await server.until(lambda: apply.late)
    [said] = apply.late
    assert (said.began, said.state, said.hard) == (where == "apply", "none", where == "apply")
    assert "killed by signal 9" in said.ended if where == "apply" else not said.ended
    await server.until(lambda: not list((data / "phases").iterdir()))


async def test_a_late_result_that_the_server_fails_to_take_is_offered_again(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    steps = [["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    apply = server.add(apply_phase(script(apply=steps)))
    process.start()
    await server.until((tmp_path / "pid").exists)
    process.send(signal.SIGKILL)
    apply.fence += 1
    assert [] in [beat.kept for beat in server.heartbeats]
    begun = len(server.heartbeats)
    server.fault("late_result", "status", 500, times=10)
    server.fault("late_log", "status", 413)  # too long to be taken, which must not keep the rest
    process.start()
    await server.until(lambda: apply.late)
    assert len(apply.late) == 1
    said = [beat.kept for beat in server.heartbeats[begun:] if beat.kept is not None]
    assert said[0] == [wire.HeldPhase(phase_id=apply.work.phase_id, fence=1)]
    assert server.heartbeats[-1].kept is None


async def test_a_restarted_agent_says_at_once_what_it_dropped(
    server: AgentServer, data: Path, process: AgentProcess, tmp_path: Path
) -> None:
    server.every = 600
    steps = [["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    plan_script = script(plan=steps)
    plan = apply_phase(plan_script)
    plan.work.kind = "plan"
    server.add(plan)
    process.start()
    await server.until((tmp_path / "pid").exists)
    process.send(signal.SIGKILL)
    await process.ended()
    server.fault("heartbeat", "lose_answer")
    process.start()
    await server.until(lambda: any(beat.dropped for beat in server.heartbeats))
    dropped = next(beat.dropped for beat in server.heartbeats if beat.dropped)
    assert dropped == [wire.HeldPhase(phase_id=plan.work.phase_id, fence=1)]
    beats = len(server.heartbeats)
    process.send(signal.SIGTERM)  # makes it beat
    with anyio.move_on_after(1):
        await server.until(lambda: len(server.heartbeats) > beats)
    assert not any(beat.dropped for beat in server.heartbeats[beats + 1 :])


async def test_a_restarted_agent_drops_an_apply_that_had_not_started(
    server: AgentServer, data: Path, process: AgentProcess
) -> None:
    server.every = 600
    apply = server.add(apply_phase(script()))
    server.fault("configuration", "status", 503, times=1000)
    process.start()
    await server.until(lambda: "configuration" in server.calls)
    process.send(signal.SIGKILL)
    await process.ended()
    assert [path.name for path in (data / "phases").iterdir()] == ["apply-1.1"]
    server.fault("heartbeat", "lose_answer")
    process.start()
    await server.until(lambda: any(beat.dropped for beat in server.heartbeats))
    dropped = next(beat.dropped for beat in server.heartbeats if beat.dropped)
    assert dropped == [wire.HeldPhase(phase_id=apply.work.phase_id, fence=1)]
    assert not list((data / "phases").iterdir())
    assert not any(beat.kept for beat in server.heartbeats)
    assert (apply.reports, apply.late, apply.states) == ([], [], [])


@pytest.mark.parametrize(
    ("end", "hard"),
    [
        (None, True),
        (Exit(code=0), False),
        (Exit(code=1), False),
        (Exit(code=2), True),
        (Exit(code=11), True),
        (Exit(code=127), False),
        (Exit(code=137), True),
        (Exit(signal=9), True),
        (Exit(signal=15), True),
        (Exit(error="the agent was gone before terraform started"), False),
        (Exit(error="the process that watches over terraform was killed", unrecorded=True), True),
    ],
)
def test_what_counts_as_hard(end: Exit | None, *, hard: bool) -> None:
    assert apply_outcome.ended_hard(end) == hard
    assert apply_outcome.describe_exit(end)
