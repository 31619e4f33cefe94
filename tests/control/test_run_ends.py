"""How runs end that nobody ends in order, and who may still speak of them."""

from typing import Any

import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel import db
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

DAY = 24 * 3600
TABLES = ("log_chunks", "phases", "runs", "state_excerpts", "state_versions", "workspaces")


async def planning(agent: Agent, key: str = "k") -> dict[str, Any]:
    work = await agent.claim(key, "plan")
    assert work is not None
    assert (await agent.report(work, "planning")).status_code == 200
    return work


async def applying(api: Client, agent: Agent, workspace: str) -> tuple[str, dict[str, Any]]:
    run = await factories.run(api, workspace)
    await factories.plans(agent)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    return run, await factories.starts_apply(agent)


async def forced(control: Control, api: Client, run: str) -> None:
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    control.clock.move(61)
    await api.post(f"/api/v2/runs/{run}/actions/force-cancel")
    assert await control.status(run) == "canceled"


async def rows() -> list[dict[str, Any]]:
    return [
        dict(row)
        for table in TABLES
        for row in await db.rows(f"select * from {table} order by {table}::text")
    ]


@pytest.mark.parametrize("saved", [False, True])
async def test_a_plan_that_nobody_confirms_is_discarded(
    control: Control, api: Client, listener: Agent, workspace: str, *, saved: bool
) -> None:
    run = await factories.run(api, workspace, **{"save-plan": saved})
    await factories.plans(listener)
    days = control.services.settings.runs.wait_for_person_days
    control.clock.move(days * DAY - 3600)
    behind = await factories.run(api, workspace)
    await control.sweep()
    assert (await control.status(run)).startswith("planned")
    control.clock.move(2 * 3600)
    await control.sweep()
    assert await control.status(run) == "discarded"
    assert await control.status(behind) == "plan_queued"
    shown = (await api.get(f"/api/v2/runs/{run}"))["data"]["attributes"]
    assert "nobody confirmed it in time" in shown["reason"]


async def test_a_plan_waits_for_ever_if_that_is_wanted(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener)
    runs = replace(control.services.settings.runs, wait_for_person_days=0)
    patient = replace(control.services, settings=replace(control.services.settings, runs=runs))
    control.clock.move(1000 * DAY)
    await replace(control, services=patient).sweep()
    assert await control.status(run) == "planned"


async def test_a_first_claim_may_report_without_its_fence(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    assert await listener.claim("k") is not None
    path = f"{listener.at}/runs/{run}"
    for body in ({"status": "planning"}, {"status": "errored", "message": "broken"}):
        answer = await listener.call("PATCH", path, json=body)
        assert answer.status_code == 200, answer.text
    assert await control.status(run) == "errored"


async def test_a_later_claim_may_not_report_without_its_fence(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await planning(listener, "first")
    control.clock.move(31)
    await control.sweep()
    again = await planning(listener, "second")
    assert again["fence"] == 2
    before = await rows()
    for status in ("planning", "errored", "canceled"):
        for named in ({}, {"phase_id": again["phase_id"]}):
            body = {"status": status} | named
            answer = await listener.call("PATCH", f"{listener.at}/runs/{run}", json=body)
            assert answer.status_code == 409, answer.text
    assert await rows() == before
    assert (await listener.report(again, "errored")).status_code == 200


async def test_who_was_shut_out_by_force_writes_no_more(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run, work = await applying(api, listener, workspace)
    assert (await listener.send(work, "state", factories.state(1))).status_code == 200
    assert (await listener.send(work, "log", b"begins", "offset=0")).status_code == 200
    await forced(control, api, run)
    blobs = control.services.settings.data_dir / "blobs"
    before, stored = await rows(), sorted(blobs.rglob("*"))
    for what, body, query in (
        ("state", factories.state(2), ""),
        ("state", factories.state(2), "final=true"),
        ("log", b" and goes on", "offset=6"),
    ):
        assert (await listener.send(work, what, body, query)).status_code == 409
    assert (await listener.report(work, "applied")).status_code == 409
    assert await rows() == before
    assert sorted(blobs.rglob("*")) == stored


async def test_an_agent_is_told_of_force_however_long_its_apply_has_taken(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run, work = await applying(api, listener, workspace)
    await db.execute("update certificates set not_after = not_after + interval '9 days'")
    control.clock.move(3 * DAY)
    assert work["phase_id"] in (await listener.beat(work))["leases"]
    await forced(control, api, run)
    (order,) = (await listener.beat(work))["orders"]
    assert (order["phase_id"], order["kind"]) == (work["phase_id"], "force_cancel")
    control.clock.move(2 * DAY)
    assert (await listener.beat(work))["orders"] == []


async def test_a_plan_that_was_ended_by_force_gets_no_more(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await planning(listener)
    await forced(control, api, run)
    before = await rows()
    log = await listener.send(work, "log", b"late", "offset=0")
    artifact = await listener.send(work, "artifacts/plan", b"x", f"digest={'0' * 64}")
    assert (log.status_code, artifact.status_code) == (409, 409)
    assert await rows() == before
