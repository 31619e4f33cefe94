"""Which workspaces may read the state of which others, as people set it."""

from typing import Any

import pytest

from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Client

pytestmark = pytest.mark.anyio


def linkage(*ids: str) -> dict[str, Any]:
    return {"data": [{"type": "workspaces", "id": id_} for id_ in ids]}


class Consumers:
    """The consumers of one workspace, as one person reaches them."""

    def __init__(self, client: Client, workspace: str) -> None:
        self._client = client
        self._path = f"/api/v2/workspaces/{workspace}/relationships/remote-state-consumers"

    async def change(self, method: str, *ids: str) -> int:
        answer = await self._client.call(method, self._path, json=linkage(*ids))
        return answer.status_code

    async def names(self, query: str = "") -> list[str]:
        found = await self._client.get(f"{self._path}{query}")
        return [one["attributes"]["name"] for one in found["data"]]


@pytest.fixture
async def others(api: Client) -> dict[str, str]:
    return {name: await factories.workspace(api, name) for name in ("blue", "green", "red")}


@pytest.fixture
def consumers(api: Client, workspace: str) -> Consumers:
    return Consumers(api, workspace)


async def test_nothing_is_shared_unless_somebody_says_so(
    api: Client, workspace: str, consumers: Consumers
) -> None:
    shown = (await api.get(f"/api/v2/workspaces/{workspace}"))["data"]["attributes"]
    assert shown["global-remote-state"] is False
    assert shown["project-remote-state"] is False
    assert await consumers.names() == []


@pytest.mark.parametrize("setting", ["global-remote-state", "project-remote-state"])
async def test_the_settings_are_given_at_creation_or_later(api: Client, setting: str) -> None:
    workspace = await factories.workspace(api, "early", **{setting: True})
    path = f"/api/v2/workspaces/{workspace}"
    assert (await api.get(path))["data"]["attributes"][setting] is True
    body = {"data": {"type": "workspaces", "attributes": {setting: False}}}
    changed = await api.call("PATCH", path, json=body)
    assert changed.json()["data"]["attributes"][setting] is False
    assert (await api.get(path))["data"]["attributes"][setting] is False


async def test_consumers_are_added_replaced_and_removed(
    consumers: Consumers, others: dict[str, str]
) -> None:
    blue, green, red = others["blue"], others["green"], others["red"]
    assert await consumers.change("POST", red, blue) == 204
    assert await consumers.change("POST", blue) == 204
    assert await consumers.names() == ["blue", "red"]
    assert await consumers.change("PATCH", green, blue) == 204
    assert await consumers.names() == ["blue", "green"]
    assert await consumers.change("DELETE", blue, red) == 204
    assert await consumers.names() == ["green"]
    assert await consumers.change("PATCH") == 204
    assert await consumers.names() == []


async def test_consumers_come_in_pages(
    api: Client, workspace: str, consumers: Consumers, others: dict[str, str]
) -> None:
    await consumers.change("POST", *others.values())
    assert await consumers.names("?page[size]=2&page[number]=2") == ["red"]
    path = f"/api/v2/workspaces/{workspace}/relationships/remote-state-consumers?page[size]=2"
    assert (await api.get(path))["meta"]["pagination"]["total-count"] == 3


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("odd", ["ws-1111111111111111", "nonsense", ""])
async def test_unknown_workspaces_are_not_found_and_nothing_changes(
    consumers: Consumers, others: dict[str, str], method: str, odd: str
) -> None:
    await consumers.change("POST", others["red"])
    assert await consumers.change(method, others["red"], odd) == 404
    assert await consumers.names() == ["red"]


async def test_only_who_administers_it_shares_and_only_with_what_they_see(as_: As) -> None:
    owner, stranger, reader = await as_("owner"), await as_("stranger"), await as_("reader")
    workspace = await factories.workspace(owner, "mine")
    foreign = await factories.workspace(stranger, "theirs")
    own = await factories.workspace(owner, "another")
    assert await Consumers(owner, workspace).change("POST", foreign) == 404
    assert await Consumers(stranger, workspace).change("POST", foreign) == 404
    assert await Consumers(reader, workspace).change("POST", foreign) == 403
    assert await Consumers(owner, workspace).change("POST", own) == 204
    assert await Consumers(reader, workspace).names() == ["another"]
    # An administrator may share it with what its owner can't see.
    admin = await as_("admin")
    assert await Consumers(admin, workspace).change("POST", foreign) == 204
    assert await Consumers(admin, workspace).names() == ["another", "theirs"]
    assert await Consumers(owner, workspace).names() == ["another"]


async def test_a_consumer_that_is_deleted_is_none_any_more(
    api: Client, workspace: str, consumers: Consumers, others: dict[str, str]
) -> None:
    await consumers.change("POST", *others.values())
    assert (await api.call("DELETE", f"/api/v2/workspaces/{others['red']}")).status_code == 204
    assert await consumers.names() == ["blue", "green"]
    assert (await api.call("DELETE", f"/api/v2/workspaces/{workspace}")).status_code == 204


async def test_another_type_is_refused(api: Client, workspace: str) -> None:
    path = f"/api/v2/workspaces/{workspace}/relationships/remote-state-consumers"
    answer = await api.call("POST", path, json={"data": [{"type": "projects", "id": "prj-1"}]})
    assert answer.status_code == 422
