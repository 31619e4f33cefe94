"""Variables of a workspace; a sensitive value goes in and never comes out."""

from typing import Any

import pytest

from terrapod_control_plane.kernel import db
from tests.kit import factories
from tests.kit.control import Agent, Client

pytestmark = pytest.mark.anyio


async def made(api: Client, workspace: str, **given: Any) -> Any:
    attributes = {"key": "name", "value": "value", "category": "terraform"} | given
    data = {"type": "vars", "attributes": attributes}
    return await api.call("POST", f"/api/v2/workspaces/{workspace}/vars", json={"data": data})


async def test_a_sensitive_value_is_never_shown(api: Client, workspace: str) -> None:
    variable = (await made(api, workspace, value="hush", sensitive=True)).json()["data"]
    assert variable["attributes"]["value"] is None
    at = f"/api/v2/workspaces/{workspace}/vars/{variable['id']}"
    open_it = {"data": {"type": "vars", "attributes": {"sensitive": False}}}
    assert (await api.call("PATCH", at, json=open_it)).status_code == 422
    assert (await api.get(at))["data"]["attributes"]["value"] is None
    stored = await db.value("select sealed from variables")
    assert b"hush" not in stored


async def test_a_new_value_may_be_shown(api: Client, workspace: str) -> None:
    variable = (await made(api, workspace, value="hush", sensitive=True)).json()["data"]
    at = f"/api/v2/workspaces/{workspace}/vars/{variable['id']}"
    change = {"data": {"type": "vars", "attributes": {"sensitive": False, "value": "told"}}}
    changed = (await api.call("PATCH", at, json=change)).json()["data"]["attributes"]
    assert changed["value"] == "told"
    assert changed["version-id"] != variable["attributes"]["version-id"]


async def test_a_key_is_taken_once_in_each_category(api: Client, workspace: str) -> None:
    assert (await made(api, workspace)).status_code == 201
    assert (await made(api, workspace)).status_code == 409
    assert (await made(api, workspace, category="env")).status_code == 201


async def test_a_variable_of_another_workspace_is_not_found(api: Client, workspace: str) -> None:
    variable = (await made(api, workspace)).json()["data"]["id"]
    other = await factories.workspace(api, "other")
    at = f"/api/v2/workspaces/{other}/vars/{variable}"
    assert (await api.call("GET", at)).status_code == 404
    assert (await api.call("DELETE", at)).status_code == 404


async def test_those_of_the_run_come_after_those_of_the_workspace(
    api: Client, listener: Agent, workspace: str
) -> None:
    await made(api, workspace, value="of the workspace", sensitive=True)
    await factories.run(api, workspace, variables=[{"key": "name", "value": '"of the run"'}])
    work = await listener.claim("k")
    assert work is not None
    shown = [(v["value"], v["hcl"], v["sensitive"]) for v in work["variables"]]
    assert shown == [("of the workspace", False, True), ('"of the run"', True, False)]


async def test_a_deleted_one_is_gone(api: Client, workspace: str) -> None:
    variable = (await made(api, workspace)).json()["data"]["id"]
    at = f"/api/v2/workspaces/{workspace}/vars"
    assert (await api.call("DELETE", f"{at}/{variable}")).status_code == 204
    assert (await api.get(at))["data"] == []
