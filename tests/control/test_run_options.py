"""What a run is asked for with: done, or refused by its name; and who sees its variables."""

from typing import Any

import httpx
import pytest

from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, problems

pytestmark = pytest.mark.anyio

GIVEN = [
    {"key": "plain", "value": '"seen"'},
    {"key": "secret", "value": '"hush"'},
    {"key": "undeclared", "value": '"who knows"'},
]
HIDDEN = [{"key": one["key"], "value": "", "sensitive": True} for one in GIVEN]


async def shown(client: Client, run: str) -> Any:
    found = await client.get(f"/api/v2/runs/{run}")
    return found["data"]["attributes"]["variables"]


async def test_values_are_seen_once_the_plan_tells_that_they_are_no_secrets(
    as_: As, api: Client, listener: Agent, workspace: str
) -> None:
    reader = await as_("reader")
    run = await factories.run(api, workspace, variables=GIVEN)
    assert await shown(api, run) == await shown(reader, run) == HIDDEN
    work = await factories.starts_plan(listener)
    assert [one["value"] for one in work["variables"]] == [one["value"] for one in GIVEN]
    assert await shown(api, run) == HIDDEN
    await factories.ends_plan(listener, work, plain_variables=["plain", "another"])
    seen = [{"key": "plain", "value": '"seen"', "sensitive": False}, *HIDDEN[1:]]
    assert await shown(api, run) == await shown(reader, run) == seen
    listed = await api.get(f"/api/v2/workspaces/{workspace}/runs")
    assert [one["attributes"]["variables"] for one in listed["data"]] == [seen]


async def test_values_stay_hidden_when_the_agent_does_not_tell(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, variables=GIVEN)
    await factories.plans(listener)
    assert await shown(api, run) == HIDDEN


async def test_values_stay_hidden_when_the_plan_failed(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace, variables=GIVEN)
    work = await factories.starts_plan(listener)
    assert (await listener.report(work, "errored")).status_code == 200
    assert await shown(api, run) == HIDDEN


# --- options --------------------------------------------------------------------------------------


async def asked(api: Client, workspace: str, **given: Any) -> httpx.Response:
    return await api.call(
        "POST", "/api/v2/runs", json={"data": factories.new_run(workspace, **given)}
    )


@pytest.mark.parametrize(
    "given",
    [
        {"debugging-mode": True},
        {"policy-paths": ["policies"]},
        {"something-new": "x"},
    ],
)
async def test_what_a_run_can_not_do_is_refused_by_its_name(
    api: Client, workspace: str, given: dict[str, Any]
) -> None:
    answer = await asked(api, workspace, **given)
    assert answer.status_code == 422
    (name,) = given
    (problem,) = problems(answer)
    assert name in problem["detail"]
    assert problem["source"] == {"pointer": f"/data/attributes/{name}"}
    runs = await api.get(f"/api/v2/workspaces/{workspace}/runs")
    assert runs["data"] == []


async def test_what_clients_always_send_is_accepted(api: Client, workspace: str) -> None:
    """As `terraform` 1.16 and go-tfe do."""
    given = {"policy-paths": [], "debugging-mode": False, "invoke-action-addrs": None}
    assert (await asked(api, workspace, **given)).status_code == 201


ACTION = "action.local_command.greet"


async def test_an_action_is_invoked(api: Client, listener: Agent, workspace: str) -> None:
    given = {"invoke-action-addrs": [ACTION], "terraform-version": "1.14.0", "refresh-only": True}
    answer = await asked(api, workspace, **given)
    assert answer.status_code == 201, answer.text
    assert answer.json()["data"]["attributes"]["invoke-action-addrs"] == [ACTION]
    work = await factories.starts_plan(listener)
    assert (work["flags"]["invokes"], work["flags"]["refresh_only"]) == ([ACTION], True)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"terraform-version": "1.13.5"}, "terraform 1.13.5 has no actions"),
        ({"invoke-action-addrs": [ACTION, f"{ACTION}2"]}, "one action at a time"),
        ({"is-destroy": True}, "without destroying"),
        ({"target-addrs": ["terraform_data.a"]}, "without destroying"),
    ],
)
async def test_an_action_that_can_not_be_invoked_is_refused_with_the_reason(
    api: Client, workspace: str, given: dict[str, Any], why: str
) -> None:
    whole = {"invoke-action-addrs": [ACTION], "terraform-version": "1.15.5"} | given
    answer = await asked(api, workspace, **whole)
    assert answer.status_code == 422
    (problem,) = problems(answer)
    assert problem["source"] == {"pointer": "/data/attributes/invoke-action-addrs"}
    assert why in problem["detail"]


async def test_tofu_has_no_actions(api: Client) -> None:
    workspace = await factories.workspace(api, "of-tofu", tool="tofu")
    await factories.configuration(api, workspace)
    whole = {"invoke-action-addrs": [ACTION], "terraform-version": "1.15.0"}
    assert (await asked(api, workspace, **whole)).status_code == 422


WORKSPACES, POOLS = "organizations/default/workspaces", "organizations/default/agent-pools"
CONFIGURATIONS = "workspaces/{}/configuration-versions"


@pytest.mark.parametrize(
    ("path", "type_", "beside", "given"),
    [
        (WORKSPACES, "workspaces", {"name": "new"}, {"assessments-enabled": True}),
        (WORKSPACES, "workspaces", {"name": "new"}, {"vcs-repo": {"branch": "x"}}),
        (WORKSPACES, "workspaces", {"name": "new"}, {"auto-destroy-at": "2030-01-01"}),
        (POOLS, "agent-pools", {"name": "new"}, {"organization-scoped": False}),
        ("workspaces/{}/vars", "vars", {"key": "a"}, {"ephemeral": True}),
        (CONFIGURATIONS, "configuration-versions", {}, {"something-new": 1}),
    ],
)
async def test_nothing_that_is_asked_for_is_dropped(
    api: Client, workspace: str, path: str, type_: str, beside: Any, given: Any
) -> None:
    body = {"data": {"type": type_, "attributes": beside | given}}
    answer = await api.call("POST", f"/api/v2/{path.format(workspace)}", json=body)
    assert answer.status_code == 422, answer.text
    assert next(iter(given)) in problems(answer)[0]["detail"]


@pytest.mark.parametrize("relation", ["allowed-workspaces", "excluded-workspaces"])
async def test_a_pool_is_not_made_open_for_all_that_was_to_be_for_some(
    api: Client, workspace: str, relation: str
) -> None:
    linked = {relation: {"data": [{"type": "workspaces", "id": workspace}]}}
    data = {"type": "agent-pools", "attributes": {"name": "some"}, "relationships": linked}
    path = "/api/v2/organizations/default/agent-pools"
    assert (await api.call("POST", path, json={"data": data})).status_code == 422


async def test_a_workspace_can_be_sent_back_as_it_was_shown(api: Client, workspace: str) -> None:
    """Scripts read a document, change one attribute and send all of it."""
    document = await api.get(f"/api/v2/workspaces/{workspace}")
    document["data"]["attributes"]["description"] = "changed"
    answer = await api.call("PATCH", f"/api/v2/workspaces/{workspace}", json=document)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["attributes"]["description"] == "changed"


async def test_a_variable_can_be_sent_back_as_it_was_shown(api: Client, workspace: str) -> None:
    path = f"/api/v2/workspaces/{workspace}/vars"
    made = await api.post(path, {"type": "vars", "attributes": {"key": "a", "value": "b"}})
    answer = await api.call("PATCH", f"{path}/{made['data']['id']}", json=made)
    assert answer.status_code == 200, answer.text
