"""Runs through the API, with an agent that says by hand what agents say."""

import re
from typing import Any

import httpx
import pytest

from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio


async def act(client: Client, run: str, action: str) -> httpx.Response:
    return await client.call("POST", f"/api/v2/runs/{run}/actions/{action}", content=b"{}")


async def attributes(client: Client, run: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/api/v2/runs/{run}"))["data"]["attributes"]
    return found


async def phase(client: Client, run: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/api/v2/runs/{run}/{kind}"))["data"]["attributes"]
    return found


async def test_a_run_is_planned_confirmed_and_applied(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, message="hello")
    assert (await attributes(api, run))["message"] == "hello"
    assert await control.status(run) == "plan_queued"
    await factories.plans(listener)
    shown = await attributes(api, run)
    assert (shown["status"], shown["has-changes"]) == ("planned", True)
    assert shown["actions"]["is-confirmable"]
    assert (await phase(api, run, "plan"))["resource-additions"] == 1
    assert (await act(api, run, "apply")).status_code == 202
    assert await control.status(run) == "apply_queued"
    await factories.applies(listener)
    shown = await attributes(api, run)
    assert shown["status"] == "applied"
    assert {"planned-at", "confirmed-at", "applied-at"} <= set(shown["status-timestamps"])
    found = (await api.get(f"/api/v2/workspaces/{workspace}"))["data"]
    assert found["attributes"]["locked"] is False
    assert found["relationships"]["current-state-version"]["data"] is not None


async def test_an_empty_body_confirms_too(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener)
    answer = await api.call("POST", f"/api/v2/runs/{run}/actions/confirm")
    assert answer.status_code == 202
    assert await control.status(run) == "apply_queued"


async def test_auto_apply_needs_nobody(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    assert await control.status(run) == "apply_queued"
    await factories.applies(listener)
    assert await control.status(run) == "applied"


async def test_a_plan_without_changes_is_the_end(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener, has_changes=False)
    assert await control.status(run) == "planned_and_finished"
    assert (await act(api, run, "apply")).status_code == 409


async def test_the_second_waits_for_the_first(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    first = await factories.run(api, workspace)
    second = await factories.run(api, workspace)
    assert await control.status(second) == "pending"
    assert first in (await attributes(api, second))["waiting-on"]
    await factories.plans(listener)
    assert (await act(api, first, "discard")).status_code == 202
    assert await control.status(first) == "discarded"
    assert await control.status(second) == "plan_queued"


async def test_a_plan_only_run_does_not_wait(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    beside = await factories.run(api, workspace, **{"plan-only": True})
    assert await control.status(beside) == "plan_queued"
    await factories.plans(listener, "one")
    await factories.plans(listener, "two")
    assert await control.status(beside) == "planned_and_finished"


async def test_a_locked_workspace_is_waited_for(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await api.post(f"/api/v2/workspaces/{workspace}/actions/lock")
    run = await factories.run(api, workspace)
    assert await control.status(run) == "pending"
    said = (await attributes(api, run))["waiting-on"]
    assert said.startswith("the workspace is locked by admin@example.com since ")
    await api.post(f"/api/v2/workspaces/{workspace}/actions/unlock")
    assert await control.status(run) == "plan_queued"


async def test_a_waiting_run_is_canceled_at_once(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    assert (await act(api, run, "cancel")).status_code == 202
    assert await control.status(run) == "canceled"
    assert (await phase(api, run, "plan"))["status"] == "canceled"
    assert await listener.claim("k") is None
    for action in ("cancel", "apply", "discard", "force-cancel"):
        assert (await act(api, run, action)).status_code == 409


async def test_a_running_one_is_asked_and_then_forced(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener)
    await act(api, run, "apply")
    work = await factories.starts_apply(listener)
    assert (await act(api, run, "force-cancel")).status_code == 409
    assert (await act(api, run, "cancel")).status_code == 202
    assert await control.status(run) == "applying"
    assert (await act(api, run, "force-cancel")).status_code == 409
    control.clock.move(61)
    assert (await act(api, run, "force-cancel")).status_code == 202
    assert await control.status(run) == "canceled"
    orders = (await listener.beat(work))["orders"]
    assert [order["kind"] for order in orders] == ["force_cancel"]
    found = await api.get(f"/api/v2/workspaces/{workspace}")
    assert found["data"]["attributes"]["hold"]["run"] == run
    assert (await listener.report(work, "applied")).status_code == 409


async def test_an_agent_that_was_asked_says_canceled(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    await act(api, run, "cancel")
    assert (await listener.report(work, "canceled")).status_code == 200
    assert await control.status(run) == "canceled"


async def test_variables_of_a_run_reach_its_agent_only_there(
    api: Client, listener: Agent, workspace: str
) -> None:
    given = [{"key": "who", "value": '"cli"'}]
    await factories.run(api, workspace, variables=given)
    work = await listener.claim("k")
    assert work is not None
    assert [(v["key"], v["value"], v.get("hcl")) for v in work["variables"]] == [
        ("who", '"cli"', True)
    ]


async def test_without_a_pool_a_run_waits_and_says_so(
    control: Control, api: Client, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    assert "no agent pool" in (await attributes(api, run))["waiting-on"]
    pool = await factories.pool(api)
    late = await control.join(api, pool, "late")
    assert (await factories.plans(late))["run_id"] == run


async def test_a_run_says_whom_it_waits_for(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    async def reason(run: str) -> str:
        return str((await attributes(api, run))["waiting-on"])

    run = await factories.run(api, workspace)
    assert await reason(run) == (
        "no agent of the pool pool is online and takes work; none was ever seen"
    )
    await listener.beat()
    await control.services.ephemeral.take(f"pool-seen:{listener.pool}")  # as after a second
    assert await reason(run) == "waits for an agent of the pool pool to take it"
    work = await listener.claim("k")
    assert work is not None
    assert await reason(run) == "the agent first has taken it and prepares it"
    other = await factories.workspace(api, "other")
    await factories.configuration(api, other)
    second = await factories.run(api, other)
    third = await factories.run(api, other, **{"plan-only": True})
    assert await reason(second) == "all agents of the pool pool are busy"
    assert await reason(third) == "all agents of the pool pool are busy, 1 ahead of it"
    await listener.report(work, "planning")
    assert await reason(run) == "the agent first is at it and has not logged yet"
    await listener.send(work, "log", b"planning", "offset=0")
    control.clock.move(7)
    assert re.fullmatch(r"the agent first is at it; last log \d+ s ago", await reason(run))
    await api.call("POST", f"/api/v2/runs/{run}/actions/cancel")
    assert await reason(run) == "is being canceled; waits for the agent first to stop"


async def test_what_belongs_to_others_is_not_found(
    as_: As, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    stranger, reader = await as_("stranger"), await as_("reader")
    for action in ("apply", "discard", "cancel", "force-cancel"):
        assert (await act(stranger, run, action)).status_code == 404
        assert (await act(reader, run, action)).status_code == 403
    mine = await factories.workspace(stranger, "mine")
    theirs = await factories.configuration(api, workspace)
    body = {"data": factories.new_run(mine, theirs)}
    assert (await stranger.call("POST", "/api/v2/runs", json=body)).status_code == 404
    queue = await stranger.get("/api/v2/organizations/default/runs/queue")
    assert queue["data"] == []
