"""What a phase reads of other workspaces on the agent port: shared outputs, nothing else."""

import base64
import hashlib
import json
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from terrapod_control_plane.states.shared.content import Encrypted, outputs_only
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

OUTPUTS = {
    "address": {"value": "10.0.0.1", "type": "string"},
    "big": {"value": 12345678901234567890123, "type": "number"},
    "password": {"value": "hunter2", "type": "string", "sensitive": True},
}
RESOURCE = {
    "mode": "managed",
    "type": "terraform_data",
    "name": "one",
    "provider": "p",
    "instances": [{"attributes": {"id": "a-secret-of-a-resource"}}],
}


def full_state(serial: int = 7, **changes: Any) -> bytes:
    resources = [RESOURCE] * changes.pop("count", 1)
    state = {"serial": serial, "outputs": OUTPUTS, "resources": resources}
    return json.dumps(factories.STATE | state | changes).encode()


async def upload(api: Client, workspace: str, content: bytes, serial: int = 7) -> str:
    """A state of a workspace, by its lock's holder; the version's id."""
    await api.post(f"/api/v2/workspaces/{workspace}/actions/lock")
    attributes = {
        "serial": serial,
        "md5": hashlib.md5(content).hexdigest(),
        "lineage": factories.STATE["lineage"],
        "state": base64.b64encode(content).decode(),
    }
    made = await api.post(
        f"/api/v2/workspaces/{workspace}/state-versions",
        {"type": "state-versions", "attributes": attributes},
    )
    await api.post(f"/api/v2/workspaces/{workspace}/actions/unlock")
    id_: str = made["data"]["id"]
    return id_


class Reader:
    """A phase of the workspace `app` that is under way, and what it asks."""

    def __init__(self, agent: Agent, work: dict[str, Any]) -> None:
        self._agent = agent
        self.work = work

    async def ask(self, what: str, query: str = "") -> httpx.Response:
        path = f"{self._agent.at}/phases/{self.work['phase_id']}/{what}"
        return await self._agent.call("GET", f"{path}?fence={self.work['fence']}&{query}")


@pytest.fixture
async def reader(api: Client, listener: Agent, workspace: str) -> Reader:
    await factories.run(api, workspace)
    return Reader(listener, await factories.starts_plan(listener))


@pytest.fixture
async def network(api: Client) -> str:
    """Another workspace, with a state."""
    made = await factories.workspace(api, "network")
    await upload(api, made, full_state())
    return made


async def share(api: Client, workspace: str, setting: str) -> None:
    body = {"data": {"type": "workspaces", "attributes": {setting: True}}}
    assert (await api.call("PATCH", f"/api/v2/workspaces/{workspace}", json=body)).is_success


async def test_what_is_not_shared_is_refused_as_what_does_not_exist(
    api: Client, reader: Reader, network: str
) -> None:
    told = []
    for query in ("name=network", "name=unheard-of", f"id={network}", "id=ws-1111111111111111"):
        answer = await reader.ask("shared-workspace", query)
        assert answer.status_code == 403
        told.append(answer.json()["errors"][0]["detail"].replace(query.partition("=")[2], "X"))
    refusal = (
        "The workspace X does not share its state with app, or does not exist. Whoever "
        "administers X can share it: set its global-remote-state, or add app to its "
        "remote-state-consumers."
    )
    assert set(told) == {refusal}


@pytest.mark.parametrize(
    "name", ["%00", "..%2f", "%F0%9F%98%80", "a" * 3000, "%25", "' or true --"]
)
async def test_odd_names_are_refused(reader: Reader, name: str) -> None:
    # A byte that no column can hold is refused before anything is looked up.
    expected = 422 if name == "%00" else 403
    for query in (f"name={name}", f"id={name}"):
        assert (await reader.ask("shared-workspace", query)).status_code == expected
    assert (await reader.ask("shared-workspace")).status_code == 403


@pytest.mark.parametrize("setting", ["global-remote-state", "project-remote-state", "consumer"])
async def test_shared_outputs_are_read_without_resources(
    api: Client, reader: Reader, network: str, setting: str
) -> None:
    if setting == "consumer":
        path = f"/api/v2/workspaces/{network}/relationships/remote-state-consumers"
        await api.post(path, [{"type": "workspaces", "id": reader.work["workspace_id"]}])
    else:
        await share(api, network, setting)
    found = (await reader.ask("shared-workspace", "name=network")).json()
    assert (found["id"], found["name"]) == (network, "network")
    assert found["state"]["serial"] == 7
    assert found["state"]["lineage"] == factories.STATE["lineage"]
    assert (await reader.ask("shared-workspace", f"id={network}")).json() == found
    version = found["state"]["id"]
    content = await reader.ask(f"shared-states/{version}")
    assert "a-secret-of-a-resource" not in content.text
    state = content.json()
    assert (state["version"], state["serial"], state["resources"]) == (4, 7, [])
    assert state["lineage"] == factories.STATE["lineage"]
    assert state["outputs"] == OUTPUTS
    assert "12345678901234567890123" in content.text
    listed = (await reader.ask(f"shared-states/{version}/outputs")).json()["data"]
    values = {one["attributes"]["name"]: one["attributes"]["value"] for one in listed}
    assert values == {"address": "10.0.0.1", "big": 12345678901234567890123, "password": None}
    secret = next(one["id"] for one in listed if one["attributes"]["sensitive"])
    told = (await reader.ask(f"shared-outputs/{secret}")).json()["data"]["attributes"]
    assert (told["name"], told["value"]) == ("password", "hunter2")


async def test_what_is_shared_no_longer_is_not_read(
    api: Client, reader: Reader, network: str
) -> None:
    await share(api, network, "global-remote-state")
    version = (await reader.ask("shared-workspace", "name=network")).json()["state"]["id"]
    output = (await reader.ask(f"shared-states/{version}/outputs")).json()["data"][0]["id"]
    body = {"data": {"type": "workspaces", "attributes": {"global-remote-state": False}}}
    await api.call("PATCH", f"/api/v2/workspaces/{network}", json=body)
    for what in (
        f"shared-states/{version}",
        f"shared-states/{version}/outputs",
        f"shared-outputs/{output}",
    ):
        answer = await reader.ask(what)
        assert answer.status_code == 404
        assert "network" not in answer.text


async def test_a_foreign_workspace_can_share_too(
    api: Client, as_: As, reader: Reader, network: str
) -> None:
    stranger = await as_("stranger")
    theirs = await factories.workspace(stranger, "theirs")
    await upload(stranger, theirs, full_state())
    assert (await reader.ask("shared-workspace", "name=theirs")).status_code == 403
    await share(stranger, theirs, "global-remote-state")
    assert (await reader.ask("shared-workspace", "name=theirs")).status_code == 200


async def test_its_own_workspace_is_readable(api: Client, reader: Reader) -> None:
    own = reader.work["workspace_id"]
    assert (await reader.ask("shared-workspace", "name=app")).json() == {
        "id": own,
        "name": "app",
        "terraform_version": "1.9.0",
        "state": None,
    }


async def test_a_stale_fence_reads_nothing(
    api: Client, reader: Reader, foreign: Agent, network: str
) -> None:
    await share(api, network, "global-remote-state")
    version = (await reader.ask("shared-workspace", "name=network")).json()["state"]["id"]
    asked = ("shared-workspace", f"shared-states/{version}", f"shared-states/{version}/outputs")
    other = Reader(foreign, reader.work)
    for what in asked:
        assert (await other.ask(what, "name=network")).status_code == 404
    reader.work["fence"] += 1
    for what in (*asked, "shared-outputs/wsout-1111111111111111"):
        assert (await reader.ask(what, "name=network")).status_code == 409


async def test_a_phase_that_has_ended_reads_nothing(
    api: Client, listener: Agent, workspace: str, network: str
) -> None:
    await share(api, network, "global-remote-state")
    await factories.run(api, workspace)
    reader = Reader(listener, await factories.plans(listener))
    assert (await reader.ask("shared-workspace", "name=network")).status_code == 409


async def test_a_large_state_is_read_in_another_process(
    api: Client, reader: Reader, network: str
) -> None:
    await upload(api, network, full_state(8, count=12_000), 8)
    await share(api, network, "global-remote-state")
    found = (await reader.ask("shared-workspace", "name=network")).json()["state"]
    content = await reader.ask(f"shared-states/{found['id']}")
    assert content.json()["outputs"] == OUTPUTS
    assert len(content.content) < 1000


async def test_an_encrypted_state_says_why_it_is_not_shared(
    api: Client, reader: Reader, network: str
) -> None:
    content = json.dumps(
        {"serial": 8, "lineage": factories.STATE["lineage"], "encrypted_data": "eyJ"}
    ).encode()
    await upload(api, network, content, 8)
    await share(api, network, "global-remote-state")
    found = (await reader.ask("shared-workspace", "name=network")).json()["state"]
    answer = await reader.ask(f"shared-states/{found['id']}")
    assert answer.status_code == 422
    assert "is encrypted" in answer.text


async def test_work_says_under_which_names_users_know_the_server(
    control: Control, reader: Reader
) -> None:
    assert reader.work["hosts"] == list(control.services.settings.hosts())
    assert reader.work["hosts"][0] == control.public_url.removeprefix("https://")


def test_a_state_without_outputs_is_shared_as_such() -> None:
    shared = msgspec.json.decode(outputs_only(b'{"version":4,"serial":1,"outputs":null}'))
    assert (shared["outputs"], shared["resources"]) == ({}, [])
    odd = msgspec.json.decode(outputs_only(b'{"version":null,"serial":1,"resources":3}'))
    assert (odd["version"], odd["outputs"], odd["resources"]) == (None, {}, [])
    with pytest.raises(Encrypted):
        outputs_only(b'{"serial":1,"encrypted_data":"x"}')


@pytest.mark.parametrize("name", [quote("ümlaut"), "network;drop"])
async def test_only_whole_names_are_found(
    api: Client, reader: Reader, network: str, name: str
) -> None:
    await share(api, network, "global-remote-state")
    assert (await reader.ask("shared-workspace", f"name={name}")).status_code == 403
