"""States by their ids: uploaded without a token, downloaded, and their outputs."""

import hashlib
import json
from typing import Any

import httpx
import pytest

from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Client, Control

pytestmark = pytest.mark.anyio

HOUR = 3600


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


async def announced(api: Client, workspace: str, body: bytes, **given: Any) -> str:
    """The id of a version whose content is still to come."""
    attributes = {"serial": json.loads(body)["serial"], "md5": md5(body)} | given
    made = await api.post(
        f"/api/v2/workspaces/{workspace}/state-versions",
        {"type": "state-versions", "attributes": attributes},
    )
    id_: str = made["data"]["id"]
    return id_


async def put(client: Client, version: str, body: bytes) -> httpx.Response:
    return await client.call("PUT", f"/api/v2/state-versions/{version}/content", content=body)


async def status(api: Client, version: str) -> str:
    shown = await api.get(f"/api/v2/state-versions/{version}")
    found: str = shown["data"]["attributes"]["status"]
    return found


async def downloaded(api: Client, version: str) -> bytes:
    found = await api.call("GET", f"/api/v2/state-versions/{version}/download")
    assert found.status_code == 302, found.text
    return (await api.call("GET", found.headers["location"])).content


async def present(api: Client, workspace: str) -> Any:
    """The present state of a workspace, or nothing."""
    path = f"/api/v2/workspaces/{workspace}/current-state-version"
    answer = await api.call("GET", path)
    return answer.json()["data"] if answer.status_code == 200 else None


async def test_a_content_needs_no_token(as_: As, api: Client, workspace: str) -> None:
    body = factories.state()
    version = await announced(api, workspace, body)
    assert (await status(api, version), await present(api, workspace)) == ("pending", None)
    assert (await put(await as_("nobody"), version, body)).status_code == 204
    assert (await present(api, workspace))["id"] == version
    assert await status(api, version) == "finalized"
    assert await downloaded(api, version) == body


async def test_a_content_is_taken_once(as_: As, api: Client, workspace: str) -> None:
    nobody, body = await as_("nobody"), factories.state()
    version = await announced(api, workspace, body)
    assert (await put(nobody, version, body)).status_code == 204
    for again in (body, factories.state(2)):
        assert (await put(nobody, version, again)).status_code == 404
    assert await downloaded(api, version) == body


@pytest.mark.parametrize(("later", "answer"), [(HOUR - 60, 204), (HOUR + 1, 404)])
async def test_a_content_is_taken_within_an_hour(
    control: Control, as_: As, api: Client, workspace: str, later: int, answer: int
) -> None:
    body = factories.state()
    version = await announced(api, workspace, body)
    control.clock.move(later)
    assert (await put(await as_("nobody"), version, body)).status_code == answer
    assert (await present(api, workspace) is not None) is (answer == 204)


@pytest.mark.parametrize(
    "other", [factories.state(2), factories.state() + b" ", b"", b"{"], ids=["2", "+", "", "{"]
)
async def test_a_content_is_the_announced_one(
    as_: As, api: Client, workspace: str, other: bytes
) -> None:
    nobody, body = await as_("nobody"), factories.state()
    version = await announced(api, workspace, body)
    assert (await put(nobody, version, other)).status_code == 422
    assert (await status(api, version), await present(api, workspace)) == ("pending", None)
    assert (await put(nobody, version, body)).status_code == 204
    assert await downloaded(api, version) == body


async def test_a_content_of_no_version_is_refused(
    as_: As, workspace: str, control: Control
) -> None:
    nobody = await as_("nobody")
    for id_ in ("nonsense", workspace, "sv-1111111111111111"):
        assert (await put(nobody, id_, factories.state())).status_code == 404


async def test_a_content_of_another_lineage_than_announced_is_refused(
    as_: As, api: Client, workspace: str
) -> None:
    body = factories.state()
    version = await announced(api, workspace, body, lineage="another")
    assert (await put(await as_("nobody"), version, body)).status_code == 422
    assert (await status(api, version), await present(api, workspace)) == ("pending", None)


async def test_the_announced_serial_has_to_be_the_one_of_the_content(
    as_: As, api: Client, workspace: str
) -> None:
    nobody, body = await as_("nobody"), factories.state(5)
    version = await announced(api, workspace, body, serial=100)
    assert (await put(nobody, version, body)).status_code == 422
    assert await present(api, workspace) is None
    version = await announced(api, workspace, body)
    assert (await put(nobody, version, body)).status_code == 204
    assert (await present(api, workspace))["attributes"]["serial"] == 5


async def test_a_version_without_content_has_no_download(
    as_: As, api: Client, workspace: str
) -> None:
    version = await announced(api, workspace, factories.state())
    found = await api.call("GET", f"/api/v2/state-versions/{version}/download")
    assert found.status_code == 404


async def test_the_json_form_is_taken_and_not_kept(as_: As, api: Client, workspace: str) -> None:
    version = await announced(api, workspace, factories.state())
    path = f"/api/v2/state-versions/{version}/json-content"
    sent = await (await as_("nobody")).call("PUT", path, content=b'{"values": {}}')
    assert sent.status_code == 204
    assert (await status(api, version), await present(api, workspace)) == ("pending", None)


async def test_a_download_is_for_whoever_may_plan(
    control: Control, as_: As, api: Client, workspace: str
) -> None:
    nobody, body = await as_("nobody"), factories.state()
    version = await announced(api, workspace, body)
    await put(nobody, version, body)
    path = f"/api/v2/state-versions/{version}/download"
    for name, answer in (("reader", 403), ("stranger", 404), ("nobody", 401)):
        assert (await (await as_(name)).call("GET", path)).status_code == answer
    address = (await api.call("GET", path)).headers["location"]
    got = await nobody.call("GET", address)
    assert (got.content, got.headers["content-length"]) == (body, str(len(body)))
    changed = address[:-4] + ("aaaa" if address[-4:] != "aaaa" else "bbbb")
    assert (await nobody.call("GET", changed)).status_code == 403
    control.clock.move(HOUR + 1)
    assert (await nobody.call("GET", address)).status_code == 403


async def test_present_outputs_hide_what_is_sensitive_from_everybody(
    as_: As, api: Client, workspace: str
) -> None:
    outputs = {
        "key": {"value": "hush", "type": "string", "sensitive": True},
        "list": {"value": ["a", "b"], "type": ["list", "string"]},
        "name": {"value": "app", "type": "string"},
    }
    body = json.dumps(factories.STATE | {"outputs": outputs}).encode()
    path = f"/api/v2/workspaces/{workspace}/current-state-version-outputs"
    assert (await api.get(path))["data"] == []
    await put(await as_("nobody"), await announced(api, workspace, body), body)
    for client in (api, await as_("reader")):
        found = (await client.get(path))["data"]
        assert {one["type"] for one in found} == {"state-version-outputs"}
        shown = [one["attributes"] for one in found]
        assert [(a["name"], a["type"], a["sensitive"], a["value"]) for a in shown] == [
            ("key", "string", True, None),
            ("list", "array", False, ["a", "b"]),
            ("name", "string", False, "app"),
        ]
        assert "hush" not in json.dumps(found)
    one = (await api.get(path))["data"][0]["id"]
    in_clear = await api.get(f"/api/v2/state-version-outputs/{one}")
    assert in_clear["data"]["attributes"]["value"] == "hush"
    assert (await (await as_("stranger")).call("GET", path)).status_code == 404
