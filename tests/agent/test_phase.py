"""How phases end: well, canceled, too late, no longer ours, badly prepared."""

from pathlib import Path

import pytest

from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agents import apply_phase, phase, quick, running
from tests.kit.scripted_terraform import alive, script

pytestmark = pytest.mark.anyio


async def test_the_orders_of_the_protocol_are_kept(server: AgentServer, data: Path) -> None:
    plan = server.add(phase("plan", script(plan=[["print", "planning away"]])))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
    assert [report.status for report in plan.reports] == ["planning", "planned"]
    first_log = server.calls.index("log")
    assert server.calls.index("configuration") < server.calls.index("report") < first_log
    assert plan.reports[-1].log_size == len(plan.log)
    assert plan.text.endswith("planning away\n")


async def test_a_plan_without_changes_says_so(server: AgentServer, data: Path) -> None:
    plan = server.add(phase("plan", script(plan=[["exit", 0]])))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
    assert plan.reports[-1].has_changes is False


async def test_init_is_shown_only_when_it_fails(server: AgentServer, data: Path) -> None:
    good = server.add(phase("plan", script(init=[["print", "chatter"]])))
    bad = phase("plan", script(init=[["print", "no such module"], ["exit", 1]]), phase_id="plan-2")
    server.add(bad)
    async with running(quick(data, server)):
        await server.until(lambda: bad.ended)
    assert "chatter" not in good.text
    assert bad.status == "errored"
    assert "no such module" in bad.text
    assert bad.reports[-1].message == "terraform init failed (exit code 1)"


async def test_a_cancel_interrupts_once(server: AgentServer, data: Path, tmp_path: Path) -> None:
    steps = [["touch", f"{tmp_path}/up"], ["wait", "never"]]
    plan = server.add(phase("plan", script(plan=steps)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        server.order(plan, "cancel")
        await server.until(lambda: plan.ended)
    assert plan.status == "canceled"
    assert plan.text.count("interrupted") == 1
    assert "the run was canceled" in plan.text


async def test_what_ignores_the_interrupt_is_killed_after_the_grace(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    steps = [["ignore-interrupts"], ["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    plan = server.add(phase("plan", script(plan=steps), limits=wire.Limits(grace_seconds=0.2)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "pid").exists)
        server.order(plan, "cancel")
        await server.until(lambda: plan.ended)
    assert plan.status == "canceled"
    assert not alive(tmp_path / "pid")


async def test_a_forced_cancel_kills_and_keeps_the_state(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    steps = [["ignore-interrupts"], ["state", 3], ["touch", f"{tmp_path}/up"], ["wait", "never"]]
    apply = server.add(apply_phase(script(apply=steps)))
    async with running(quick(data, server)):
        await server.until(lambda: apply.states)
        server.order(apply, "force_cancel")
        await server.until(lambda: apply.ended)
    assert apply.status == "canceled"
    content, final = apply.states[-1]
    assert final
    assert b'"serial": 3' in content


async def test_an_apply_that_ended_well_counts_although_it_was_canceled(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    steps = [["ignore-interrupts"], ["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"]]
    apply = server.add(apply_phase(script(apply=steps)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        server.order(apply, "cancel")
        (tmp_path / "go").touch()
        await server.until(lambda: apply.ended)
    assert apply.status == "applied"


async def test_the_time_limit_ends_a_phase(server: AgentServer, data: Path) -> None:
    limits = wire.Limits(phase_seconds=0.5, grace_seconds=1)
    plan = server.add(phase("plan", script(plan=[["wait", "never"]]), limits=limits))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
    assert plan.status == "errored"
    assert "longer than" in plan.reports[-1].message


async def test_a_lost_plan_is_stopped_and_forgotten(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    server.every = 0.05
    steps = [["pid", f"{tmp_path}/pid"], ["wait", "never"]]
    plan = server.add(phase("plan", script(plan=steps)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "pid").exists)
        plan.fence += 1
        await server.until(lambda: not list((data / "phases").iterdir()))
    assert not alive(tmp_path / "pid")
    assert plan.status == "planning"


async def test_a_lost_apply_goes_on_and_its_state_is_recovered(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    server.every = 0.05
    steps = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"], ["state", 7]]
    apply = server.add(apply_phase(script(apply=steps)))
    async with running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        apply.fence += 1
        beats = len(server.heartbeats)
        await server.until(lambda: len(server.heartbeats) > beats + 2)
        (tmp_path / "go").touch()
        await server.until(lambda: apply.recovered)
        await server.until(lambda: not list((data / "phases").iterdir()))
    assert b'"serial": 7' in apply.recovered[0]
    assert apply.status == "applying"


async def test_an_apply_that_is_lost_while_it_prepares_applies_nothing(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    server.every = 0.05
    preparing = [["touch", f"{tmp_path}/up"], ["wait", f"{tmp_path}/go"]]
    steps = script(init=preparing, apply=[["touch", f"{tmp_path}/ran"]])
    apply = server.add(apply_phase(steps))
    async with running(quick(data, server)):
        await server.until((tmp_path / "up").exists)
        apply.fence += 1
        beats = len(server.heartbeats)
        await server.until(lambda: len(server.heartbeats) > beats + 2)
        (tmp_path / "go").touch()
        await server.until(lambda: not list((data / "phases").iterdir()))
    assert not (tmp_path / "ran").exists()
    assert not apply.states


async def test_an_apply_without_its_plan_never_plans_again(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    steps = [["touch", f"{tmp_path}/ran"]]
    gone = server.add(phase("apply", script(plan=steps, apply=steps)))
    other = apply_phase(script(plan=steps, apply=steps), phase_id="apply-2")
    other.artifacts[wire.PLAN_FILE] = b"another plan"
    server.add(other)
    async with running(quick(data, server)):
        await server.until(lambda: gone.ended and other.ended)
    assert (gone.status, other.status) == ("errored", "errored")
    assert "not there any more" in gone.text
    assert "not what was approved" in other.text
    assert not (tmp_path / "ran").exists()


async def test_a_tool_with_another_digest_is_not_used(server: AgentServer, data: Path) -> None:
    tool = wire.Tool(name="terraform", version="1.15.5", digest="00" * 32)
    plan = server.add(phase("plan", script(), tool=tool))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
    assert plan.status == "errored"
    assert "expected 0000" in plan.reports[-1].message


async def test_a_stale_fence_at_the_start_runs_nothing(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    apply = apply_phase(script(init=[["touch", f"{tmp_path}/ran"]]))
    server.add(apply)
    server.fault("report", "status", 409)
    async with running(quick(data, server)):
        await server.until(lambda: "report" in server.calls)
        await server.until(lambda: not list((data / "phases").iterdir()))
    assert not (tmp_path / "ran").exists()
    # Who was refused has nothing to say of how the phase ended; only that it did nothing.
    assert server.calls.count("report") == 1
    assert "late_result" in server.calls


async def test_a_log_ends_at_its_limit(server: AgentServer, data: Path) -> None:
    steps = [["print", "x" * 1000]] * 300
    limits = wire.Limits(log_bytes=100_000)
    plan = server.add(phase("plan", script(plan=steps), limits=limits))
    async with running(quick(data, server)):
        await server.until(lambda: plan.ended)
    assert plan.status == "planned"
    assert plan.text.endswith("it reached its limit of 100000 bytes.\n")
    assert len(plan.log) < 101_000


async def test_two_slots_run_two_phases_and_fetch_the_tool_once(
    server: AgentServer, data: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        steps = [["touch", f"{tmp_path}/{number}"], ["wait", f"{tmp_path}/{3 - number}"]]
        plan = phase("plan", script(plan=steps), run_id=f"run-{number}", phase_id=f"plan-{number}")
        server.add(plan)
    async with running(quick(data, server, slots=2)):
        await server.until(lambda: all(phase.ended for phase in server.phases.values()))
    assert server.calls.count("download") == 1
