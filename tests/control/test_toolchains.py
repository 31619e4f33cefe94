"""The binary cache: what goes in comes out, with its digest, for whoever may have it."""

import hashlib
import io
import zipfile
from typing import Any

import pytest

from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client

pytestmark = pytest.mark.anyio

PROGRAM = b"#!/bin/sh\necho terraform\n"
DIGEST = hashlib.sha256(PROGRAM).hexdigest()
CACHE = "/api/v2/admin/binary-cache"


def release(name: str = "terraform") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("LICENSE.txt", "text")
        archive.writestr(name, PROGRAM)
    return packed.getvalue()


async def imported(api: Client, body: bytes, version: str = "1.11.4", query: str = "") -> Any:
    path = f"{CACHE}/terraform/{version}/linux/amd64{query}"
    return await api.call("PUT", path, content=body)


@pytest.mark.parametrize("body", [PROGRAM, release()], ids=["executable", "archive"])
async def test_an_agent_gets_what_was_imported(api: Client, listener: Agent, body: bytes) -> None:
    stored = await imported(api, body)
    assert stored.json()["data"]["attributes"]["digest"] == DIGEST
    asked = await listener.call("GET", "/api/v2/binary-cache/terraform/1.11.4/linux/amd64")
    assert (asked.status_code, asked.headers["x-terrapod-digest"]) == (302, DIGEST)
    assert (await listener.call("GET", asked.headers["location"])).content == PROGRAM


async def test_latest_is_the_newest(api: Client) -> None:
    for version in ("1.9.8", "1.11.4", "1.12.0-rc1"):
        await imported(api, PROGRAM + version.encode(), version)
    asked = await api.call("GET", "/api/v2/binary-cache/terraform/latest/linux/amd64")
    newest = hashlib.sha256(PROGRAM + b"1.11.4").hexdigest()
    assert asked.headers["x-terrapod-digest"] == newest


@pytest.mark.parametrize(
    ("body", "query"),
    [(release("tofu"), ""), (b"", ""), (PROGRAM, f"?digest={'0' * 64}")],
    ids=["another program", "nothing", "another digest"],
)
async def test_what_is_not_the_program_is_refused(api: Client, body: bytes, query: str) -> None:
    assert (await imported(api, body, query=query)).status_code == 422
    assert (await api.get(CACHE))["data"] == []


async def test_what_is_not_there_says_how_to_get_it(api: Client) -> None:
    asked = await api.call("GET", "/api/v2/binary-cache/terraform/1.0.0/linux/amd64")
    assert asked.status_code == 404
    assert "cache import" in asked.json()["errors"][0]["detail"]


async def test_only_administrators_change_the_cache(as_: As, api: Client) -> None:
    await imported(api, PROGRAM)
    stranger = await as_("stranger")
    assert (await imported(stranger, PROGRAM)).status_code == 403
    path = f"{CACHE}/terraform/1.11.4"
    assert (await stranger.call("DELETE", path)).status_code == 403
    assert (await api.call("DELETE", path)).status_code == 204
    assert (await api.get(CACHE))["data"] == []


async def test_a_run_gets_the_newest_that_its_workspace_allows(
    api: Client, listener: Agent
) -> None:
    for version in ("1.10.5", "1.11.4", "1.12.0"):
        await imported(api, PROGRAM, version)
    workspace = await factories.workspace(api, "pinned", **{"terraform-version": "~> 1.11.0"})
    await factories.configuration(api, workspace)
    run = await api.get(f"/api/v2/runs/{await factories.run(api, workspace)}")
    assert run["data"]["attributes"]["terraform-version"] == "1.11.4"
