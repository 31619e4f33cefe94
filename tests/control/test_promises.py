"""What must hold when things happen in an unlucky order."""

import hashlib
from typing import Any

import pytest

from terrapod_agent.identity import certificate_request, new_key
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.states import jobs as states_jobs
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

DAY = 24 * 3600
PLAN_LEASE = 31


async def artifact(agent: Agent, work: dict[str, Any], name: str, body: bytes) -> None:
    digest = hashlib.sha256(body).hexdigest()
    sent = await agent.send(work, f"artifacts/{name}", body, f"digest={digest}")
    assert sent.status_code == 200, sent.text


async def test_what_a_lost_attempt_left_does_not_meet_the_next_plan(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    first = await listener.claim("first")
    assert first is not None
    await listener.report(first, "planning")
    await artifact(listener, first, "created-files", b"of the first")
    control.clock.move(PLAN_LEASE)
    await control.sweep()
    await factories.plans(foreign)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    apply = await foreign.claim("apply")
    assert apply is not None
    assert set(apply["artifacts"]) == {"plan", "plan-json"}


async def test_a_run_that_no_agent_takes_ends(
    control: Control, api: Client, pool: str, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    behind = await factories.run(api, workspace)
    assert [await control.status(id_) for id_ in (run, behind)] == ["plan_queued", "pending"]
    control.clock.move(31 * DAY)
    await control.sweep()
    assert [await control.status(id_) for id_ in (run, behind)] == ["errored", "plan_queued"]
    shown = await api.get(f"/api/v2/runs/{run}")
    assert shown["data"]["attributes"]["reason"] == "no agent took it in time"


async def test_a_pool_that_runs_count_on_is_not_deleted(
    api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    path = f"/api/v2/agent-pools/{pool}"
    assert (await api.call("DELETE", path)).status_code == 409
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    assert (await api.call("DELETE", path)).status_code == 204


async def test_the_announced_serial_is_that_of_the_content(api: Client, workspace: str) -> None:
    body = factories.state(5)
    announced = {"serial": 100, "md5": hashlib.md5(body).hexdigest()}
    made = await api.post(
        f"/api/v2/workspaces/{workspace}/state-versions",
        {"type": "state-versions", "attributes": announced},
    )
    url = made["data"]["attributes"]["hosted-state-upload-url"]
    assert (await api.call("PUT", url, content=body)).status_code == 422
    current = await api.call("GET", f"/api/v2/workspaces/{workspace}/current-state-version")
    assert current.status_code == 404


async def test_a_late_upload_of_a_run_does_not_undo_the_next_one(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    work = await factories.starts_apply(listener)
    assert (await listener.send(work, "state", factories.state(3))).status_code == 200
    assert (await listener.send(work, "state", factories.state(2))).status_code == 422


async def test_a_version_that_came_is_not_dropped_with_those_that_did_not(
    control: Control, api: Client, workspace: str
) -> None:
    body = factories.state(1)
    announced = {"serial": 1, "md5": hashlib.md5(body).hexdigest()}
    made = await api.post(
        f"/api/v2/workspaces/{workspace}/state-versions",
        {"type": "state-versions", "attributes": announced},
    )
    url = made["data"]["attributes"]["hosted-state-upload-url"]
    assert (await api.call("PUT", url, content=body)).status_code < 300
    control.clock.move(2 * DAY)
    await states_jobs.drop_pending(system(control.services))
    current = await api.get(f"/api/v2/workspaces/{workspace}/current-state-version")
    got = await api.call("GET", current["data"]["attributes"]["hosted-state-download-url"])
    assert got.content == body


async def test_a_listener_that_was_replaced_renews_nothing(
    control: Control, api: Client, listener: Agent
) -> None:
    asked = {"csr": certificate_request(new_key(), "somebody")}
    answer = await listener.call("POST", f"{listener.at}/renew", json=asked)
    assert answer.status_code == 403, answer.text
    issued = await db.value("select count(*) from certificates")
    assert issued == 1


async def test_a_reader_sees_no_sensitive_output(
    as_: As, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    work = await factories.starts_apply(listener)
    secret = b'"outputs": {"key": {"value": "hush", "type": "string", "sensitive": true}}'
    body = factories.state().replace(b'"outputs": {}', secret)
    assert b"hush" in body
    assert (await listener.send(work, "state", body, "final=true")).status_code == 200
    current = await api.get(f"/api/v2/workspaces/{workspace}/current-state-version")
    path = f"/api/v2/state-versions/{current['data']['id']}/outputs"
    values = [
        (await client.get(path))["data"][0]["attributes"]["value"]
        for client in (await as_("reader"), api)
    ]
    assert values == [None, "hush"]


async def test_what_is_never_reached_says_so_and_ends_its_log(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    await listener.report(work, "errored")
    apply = (await api.get(f"/api/v2/runs/{run}/apply"))["data"]["attributes"]
    assert apply["status"] == "unreachable"
    assert (await api.call("GET", apply["log-read-url"])).content == b"\x02\x03"


async def test_a_saved_plan_of_an_older_state_is_discarded_when_it_is_confirmed(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    saved = await factories.run(api, workspace, **{"save-plan": True})
    await factories.plans(listener, "saved")
    other = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener, "other")
    await factories.applies(listener)
    assert await control.status(other) == "applied"
    refused = await api.call("POST", f"/api/v2/runs/{saved}/actions/apply")
    assert refused.status_code == 409
    assert "state has changed" in refused.text
    assert await control.status(saved) == "discarded"
