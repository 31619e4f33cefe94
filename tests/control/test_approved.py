"""Only what was approved is applied, to what it was approved for; and no state is let go."""

import hashlib
import json
from typing import Any

import pytest

from terrapod_control_plane.kernel import db
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

LATER = 121  # longer than the lease of an apply


async def lost_apply(control: Control, api: Client, agent: Agent, workspace: str) -> dict[str, Any]:
    """What an agent held that was lost in its apply."""
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(agent, "lost")
    work = await factories.starts_apply(agent, "lost apply")
    control.clock.move(LATER)
    await control.sweep()
    return work


async def shown(api: Client, workspace: str) -> Any:
    return (await api.get(f"/api/v2/workspaces/{workspace}"))["data"]["attributes"]


async def reason(api: Client, run: str) -> str:
    found = (await api.get(f"/api/v2/runs/{run}"))["data"]["attributes"]["reason"]
    return str(found)


@pytest.mark.parametrize("planned", ["before", "after"])
async def test_a_plan_of_the_time_on_hold_is_never_applied(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str, planned: str
) -> None:
    await lost_apply(control, api, listener, workspace)
    run = await factories.run(api, workspace, **{"auto-apply": True})
    if planned == "before":
        await factories.plans(foreign)
        assert await control.status(run) == "planned"
        told = (await api.get(f"/api/v2/runs/{run}/plan"))["data"]["attributes"]["log-read-url"]
        assert b"The workspace is on hold" in (await api.call("GET", told)).content
        await api.post(f"/api/v2/workspaces/{workspace}/actions/clear-hold")
    else:
        work = await foreign.claim("k")
        assert work is not None
        await foreign.report(work, "planning")
        await api.post(f"/api/v2/workspaces/{workspace}/actions/clear-hold")
        digest = hashlib.sha256(b"{}").hexdigest()
        await foreign.send(work, "artifacts/plan", b"{}", f"digest={digest}")
        assert (await foreign.report(work, "planned", has_changes=True)).status_code == 200
    assert await control.status(run) == "discarded"
    assert "before the hold" in await reason(api, run)
    assert await foreign.claim("apply", "apply") is None


async def test_a_plan_for_a_person_that_is_stale_is_discarded_too(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    work = await lost_apply(control, api, listener, workspace)
    run = await factories.run(api, workspace)
    await factories.plans(foreign)
    assert await control.status(run) == "planned"
    assert (await listener.send(work, "recovered-state", factories.state())).status_code == 200
    await api.post(f"/api/v2/workspaces/{workspace}/actions/adopt-state")
    assert await control.status(run) == "discarded"
    assert "state has changed" in await reason(api, run)


async def test_the_state_that_counts_is_the_one_that_the_plan_read(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    first = await factories.run(api, workspace, **{"auto-apply": True})
    second = await factories.run(api, workspace, **{"auto-apply": True})
    for run in (first, second):  # made before there was a state, planned with one
        await factories.plans(listener, f"plan {run}")
        await factories.starts_apply(listener, f"apply {run}")
        work = await listener.claim(f"apply {run}")
        assert work is not None
        sent = await listener.send(work, "state", factories.state(), "final=true")
        assert sent.status_code == 200
        await listener.report(work, "applied")
        assert await control.status(run) == "applied"


async def test_plan_and_apply_see_the_same_folder_and_name(
    api: Client, listener: Agent, workspace: str
) -> None:
    path = f"/api/v2/workspaces/{workspace}"
    await api.call("PATCH", path, json=_changes(workspace, **{"working-directory": "a"}))
    run = await factories.run(api, workspace)
    before = await factories.plans(listener)
    changes = _changes(workspace, name="other", **{"working-directory": "b"})
    assert (await api.call("PATCH", path, json=changes)).status_code == 200
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    work = await factories.starts_apply(listener)
    for known in (before, work):
        assert (known["working_directory"], known["workspace"]) == ("a", "app")
        assert known["environment"]["TFC_WORKSPACE_NAME"] == "app"


async def test_an_apply_gets_the_values_of_its_plan_and_the_present_environment(
    api: Client, listener: Agent, workspace: str
) -> None:
    path = f"/api/v2/workspaces/{workspace}/vars"
    made = {}
    for category in ("terraform", "env"):
        given = {"key": "who", "value": "then", "category": category, "sensitive": True}
        found = await api.post(path, {"type": "vars", "attributes": given})
        made[category] = found["data"]["id"]
    run = await factories.run(api, workspace, variables=[{"key": "own", "value": '"mine"'}])
    await factories.plans(listener)
    for id_ in made.values():
        change = {"data": {"type": "vars", "id": id_, "attributes": {"value": "now"}}}
        assert (await api.call("PATCH", f"{path}/{id_}", json=change)).status_code == 200
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    work = await factories.starts_apply(listener)
    got = {
        (one.get("category", "terraform"), one["key"]): one["value"] for one in work["variables"]
    }
    assert got == {
        ("env", "who"): "now",
        ("terraform", "who"): "then",
        ("terraform", "own"): '"mine"',
    }
    stored = await db.value("select variables from phases where variables is not null")
    assert b"then" not in stored


def _changes(workspace: str, **attributes: Any) -> Any:
    return {"data": {"type": "workspaces", "id": workspace, "attributes": attributes}}


async def test_what_comes_late_or_wrong_does_not_meet_the_approved_plan(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    good = hashlib.sha256(b"good").hexdigest()
    assert (await listener.send(work, "artifacts/plan", b"good", f"digest={good}")).is_success
    wrong = await listener.send(work, "artifacts/plan", b"evil", f"digest={good}")
    assert wrong.status_code == 422
    assert (await listener.report(work, "planned", has_changes=True)).is_success
    evil = hashlib.sha256(b"evil").hexdigest()
    late = await listener.send(work, "artifacts/plan", b"evil", f"digest={evil}")
    assert late.status_code == 409
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    apply = await factories.starts_apply(listener)
    path = f"{listener.at}/phases/{apply['phase_id']}/artifacts/plan?fence={apply['fence']}"
    assert (await listener.call("GET", path)).content == b"good"
    assert apply["artifacts"]["plan"] == good


async def test_a_workspace_is_not_deleted_under_a_run_or_a_hold(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    path = f"/api/v2/workspaces/{workspace}"
    work = await lost_apply(control, api, listener, workspace)
    assert (await listener.send(work, "recovered-state", factories.state())).status_code == 200
    assert (await api.call("POST", f"{path}/actions/safe-delete")).status_code == 409
    run = await factories.run(api, workspace)
    for method, at in (("DELETE", path), ("POST", f"{path}/actions/safe-delete")):
        refused = await api.call(method, at)
        assert refused.status_code == 409
        assert run in refused.text
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    await api.post(f"{path}/actions/adopt-state")
    assert (await api.call("POST", f"{path}/actions/safe-delete")).status_code == 204


async def test_who_takes_a_name_over_has_none_of_its_phases(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    again = await control.join(api, pool, "first")
    assert (await again.beat(work))["lost"] == [work["phase_id"]]
    assert (await again.report(work, "applied")).status_code == 409
    await control.sweep()
    assert await control.status(run) == "errored"
    # What the old machine had reached is welcome all the same.
    assert (await again.send(work, "recovered-state", factories.state())).status_code == 200


ODD = {
    "a\0b": {"value": {"k\0": 1}, "type": ["object", {"k\0": "number"}]},
    "n" * 9000: {"value": "long", "type": "string"},
    "big": {"value": "BIG", "type": "number"},
}


async def test_a_state_that_no_table_can_hold_is_kept_all_the_same(
    api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    resource = {
        "mode": "managed",
        "type": "t",
        "name": "n",
        "provider": "p",
        "module": 'module.m["\0"]',
        "instances": [{}],
    }
    document = factories.STATE | {"outputs": ODD, "resources": [resource]}
    body = json.dumps(document).replace('"BIG"', "1e400").encode()
    sent = await listener.send(work, "state", body, "final=true")
    assert sent.status_code == 200, sent.text
    assert (await listener.report(work, "applied")).status_code == 200
    current = await api.get(f"/api/v2/workspaces/{workspace}/current-state-version")
    url = current["data"]["attributes"]["hosted-state-download-url"]
    assert (await api.call("GET", url)).content == body
    path = f"/api/v2/state-versions/{current['data']['id']}/outputs"
    outputs = (await api.call("GET", path)).text
    assert '"value":1e400' in outputs
    assert outputs.count('"name"') == 3


async def test_a_state_with_very_many_outputs_holds_nobody_up(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    outputs = {f"o{n}": {"value": n, "type": "number"} for n in range(5000)}
    body = json.dumps(factories.STATE | {"outputs": outputs}).encode()
    assert (await listener.send(work, "state", body, "final=true")).status_code == 200
    kept = "select sum(count) from state_excerpts where kind = 'outputs'"
    assert await db.value(kept) == 5000


async def test_a_state_that_was_late_is_taken_although_the_hold_is_over(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    assert (await listener.report(work, "applied", state_uploaded=False)).status_code == 200
    assert await control.status(run) == "applied"
    await api.post(f"/api/v2/workspaces/{workspace}/actions/clear-hold")
    late = await listener.send(work, "recovered-state", factories.state())
    assert late.status_code == 200, late.text


async def stopped_at_its_limit(api: Client, agent: Agent, workspace: str) -> dict[str, Any]:
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(agent)
    work = await factories.starts_apply(agent)
    await agent.send(work, "state", factories.state(), "final=true")
    await agent.report(work, "errored", limit_passed=True)
    return work


async def test_who_adopts_what_is_there_already_ends_the_hold_with_it(
    api: Client, listener: Agent, workspace: str
) -> None:
    await stopped_at_its_limit(api, listener, workspace)
    before = (await api.get(f"/api/v2/workspaces/{workspace}/current-state-version"))["data"]["id"]
    assert "its newest state, serial 1, is here" in (await shown(api, workspace))["hold"]["reason"]
    await api.post(f"/api/v2/workspaces/{workspace}/actions/adopt-state")
    assert (await shown(api, workspace))["hold"] is None
    after = (await api.get(f"/api/v2/workspaces/{workspace}/current-state-version"))["data"]["id"]
    assert after == before


async def test_who_adopts_a_state_that_is_not_current_any_more_is_told_so(
    api: Client, listener: Agent, workspace: str
) -> None:
    await stopped_at_its_limit(api, listener, workspace)
    await factories.pushes(api, workspace, 7)
    path = f"/api/v2/workspaces/{workspace}"
    refused = await api.call("POST", f"{path}/actions/adopt-state")
    assert refused.status_code == 409
    assert "another one has become current since" in refused.text
    await api.post(f"{path}/actions/clear-hold")
    assert (await shown(api, workspace))["hold"] is None
