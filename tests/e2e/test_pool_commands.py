"""What operators do with pools, as real processes against a real server."""

import secrets

import pytest

from tests.kit.commands import terrapod
from tests.kit.stack import Server

pytestmark = pytest.mark.timeout(120)


def test_a_pool_that_a_workspace_names_goes_when_it_is_told_where(server: Server) -> None:
    name = f"n{secrets.token_hex(4)}"
    old, new = (terrapod(server, "pools", "create", f"{name}-{n}").out for n in ("old", "new"))
    given = {"name": name, "agent-pool-id": old, "execution-mode": "agent"}
    body = {"data": {"type": "workspaces", "attributes": given}}
    made = server.api("POST", "organizations/default/workspaces", body)
    refusal = terrapod(server, "pools", "delete", f"{name}-old").refusal
    assert refusal.startswith("409: ")
    assert name in refusal
    options = ["--move-to", f"{name}-new"]
    assert terrapod(server, "pools", "delete", f"{name}-old", *options).code == 0
    shown = server.api("GET", f"workspaces/{made['data']['id']}")["data"]
    assert shown["relationships"]["agent-pool"]["data"]["id"] == new
    server.api("DELETE", f"workspaces/{made['data']['id']}")
    assert terrapod(server, "pools", "delete", new).code == 0
