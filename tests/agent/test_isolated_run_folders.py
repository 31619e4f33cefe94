"""A run sees the same places however it is isolated: one agent may apply the plan of another."""

import json
import signal
from pathlib import Path

import pytest

from terrapod_common import wire
from tests.agent.test_isolated_states import isolated
from tests.agent.test_isolation import MODES, Isolated, place, programs
from tests.agent.test_real_run_folders import SEES
from tests.kit.agents import apply_of, phase

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
__all__ = ["isolated", "place", "programs"]

PAIRS = [pair for mode in MODES for pair in ((mode, "none"), ("none", mode))]


@pytest.mark.parametrize(("planned_in", "applied_in"), PAIRS)
async def test_a_plan_is_applied_as_it_was_made_with_and_without_isolation(
    isolated: Isolated, place: Path, planned_in: str, applied_in: str
) -> None:
    server = isolated.server
    files: dict[str, str | bytes] = {"sub/main.tf": SEES, "sub/a.json": "{}"}
    isolated.data = place / "first"
    agent = isolated.start(planned_in)
    plan = server.add(phase("plan", files, working_directory="sub"))
    await server.until(lambda: plan.ended, 60)
    assert plan.status == "planned", plan.text
    agent.send(signal.SIGTERM)
    assert await agent.ended() == 0

    isolated.data = place / "second"
    isolated.start(applied_in)
    apply = server.add(apply_of(plan, working_directory="sub"))
    await server.until(lambda: apply.ended, 60)
    assert apply.status == "applied", apply.text
    assert "inconsistent" not in apply.text
    document = json.loads(plan.artifacts[wire.PLAN_JSON])
    planned = document["planned_values"]["root_module"]["resources"]
    [told] = [one["values"]["input"] for one in planned if one["name"] == "place"]
    outputs = json.loads(apply.states[-1][0])["outputs"]
    run = place / "runs" / "run-1"
    assert told == f"{run}/tree/sub {run}/tree/sub {run}/home web"
    assert outputs["place"]["value"] == told
    assert outputs["json"]["value"] == ["a.json"]
