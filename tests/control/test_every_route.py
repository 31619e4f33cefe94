"""Every route of the application, called by everybody: who is let in, and who is told what."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

# What needs no token: the URL or the body is the credential, or there is nothing to protect.
PUBLIC = {
    ("GET", "/.well-known/terraform.json"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/api/v2/ping"),
    ("GET", "/api/v2/binaries/{token}"),
    ("GET", "/api/v2/configuration-downloads/{token}"),
    ("GET", "/api/v2/logs/{token}"),
    ("GET", "/api/v2/state-download/{token}"),
    ("PUT", "/api/v2/configuration-uploads/{token}"),
    ("PUT", "/api/v2/json-state-upload/{token}"),
    ("PUT", "/api/v2/state-upload/{token}"),
    ("PUT", "/api/v2/state-versions/{version_id}/content"),
    ("PUT", "/api/v2/state-versions/{version_id}/json-content"),
    ("POST", "/api/v2/agent-pools/join"),
    ("POST", "/api/v2/agent-pools/{pool_id}/listeners/join"),
    ("POST", "/api/v2/listeners/{listener_id}/nonce"),
    ("POST", "/api/v2/listeners/{listener_id}/renew"),
}
# Those of the public ones that anybody gets a good answer from.
OPEN = {
    "/.well-known/terraform.json",
    "/health",
    "/ready",
    "/api/v2/ping",
    "/api/v2/state-versions/{version_id}/json-content",  # takes anything and keeps nothing
}
# What an agent may call on its own port beside the routes of its own id.
FOR_AGENTS = {"/api/v2/binary-cache/{tool}/{version}/{os}/{arch}"}

# A path with one of these is about something of one workspace.
OF_WORKSPACE = (
    "{workspace_id}", "{name}", "{run_id}", "{plan_id}", "{apply_id}", "{variable_id}",
    "{configuration_id}", "{version_id}", "{output_id}",
)  # fmt: skip


class Route(NamedTuple):
    method: str
    path: str
    agents: bool

    @property
    def public(self) -> bool:
        return (self.method, self.path) in PUBLIC

    @property
    def of_workspace(self) -> bool:
        return not self.agents and not self.public and any(n in self.path for n in OF_WORKSPACE)

    def filled(self, ids: dict[str, str]) -> str:
        return re.sub(r"{(\w+)}", lambda found: ids[found[1]], self.path)


def routes(app: Any) -> Iterator[Route]:
    for route in app.routes:
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                agents = handler.opt.get("plane") == "agents"
                yield Route(method, route.path_format, agents)


@pytest.fixture
async def ids(control: Control, as_: As, listener: Agent, pool: str) -> dict[str, str]:
    """One real id for every kind of parameter; what belongs to a workspace is the owner's."""
    owner = await as_("owner")
    workspace = await factories.workspace(owner)
    configuration = await factories.configuration(owner, workspace)
    variable = await owner.post(
        f"/api/v2/workspaces/{workspace}/vars",
        {"type": "vars", "attributes": {"key": "a", "value": "b", "category": "terraform"}},
    )
    run = await factories.run(owner, workspace)
    await factories.plans(listener)
    await owner.post(f"/api/v2/runs/{run}/actions/apply")
    await factories.applies(listener)
    version = await owner.get(f"/api/v2/workspaces/{workspace}/current-state-version")
    shown = (await owner.get(f"/api/v2/runs/{run}"))["data"]["relationships"]
    account = await owner.get("/api/v2/account/details")
    user = account["data"]["id"]
    token = await owner.get(f"/api/v2/users/{user}/authentication-tokens")
    return {
        "organization": "default",
        "workspace_id": workspace,
        "name": "app",
        "run_id": run,
        "plan_id": shown["plan"]["data"]["id"],
        "phase_id": shown["plan"]["data"]["id"],
        "apply_id": shown["apply"]["data"]["id"],
        "variable_id": variable["data"]["id"],
        "configuration_id": configuration,
        "version_id": version["data"]["id"],
        "output_id": "wsout-1111111111111111",
        "user_id": user,
        "token_id": token["data"][0]["id"],
        "token": "nonsense",
        "pool_id": pool,
        "listener_id": listener.id,
        "tool": "terraform",
        "version": "1.9.0",
        "os": "linux",
        "arch": "amd64",
    }


async def answers(client: Client, app: Any, ids: dict[str, str]) -> dict[Route, int]:
    """What everything answers, with no body and with one that says nothing."""
    found = {}
    for route in routes(app):
        body = b"{}" if route.method in ("POST", "PATCH", "PUT") else b""
        path = route.filled(ids) + ("?wait=0&seen=0" if route.agents else "")
        found[route] = (await client.call(route.method, path, content=body)).status_code
    return found


async def test_the_public_routes_are_these(serving: Control) -> None:
    declared = {
        (method, route.path_format)
        for route in serving.app.routes
        for handler in route.route_handlers
        for method in handler.http_methods - {"OPTIONS"}
        if handler.opt.get("public")
    }
    assert declared == PUBLIC


async def test_nobody_is_asked_for_a_token(control: Control, as_: As, ids: dict[str, str]) -> None:
    for route, status in (await answers(await as_("nobody"), control.app, ids)).items():
        if route.path in OPEN or route.path.endswith("/nonce"):
            assert 200 <= status < 300, route
        elif route.public:
            assert 400 <= status < 500, route
        elif route.agents:
            assert status == 403, route
        else:
            assert status == 401, route


async def test_a_wrong_token_is_no_better_than_none(control: Control, ids: dict[str, str]) -> None:
    for route, status in (
        await answers(await control.client("user.nonsense"), control.app, ids)
    ).items():
        if not route.public:
            assert status == (403 if route.agents else 401), route


async def test_a_stranger_does_not_know_of_a_workspace(
    control: Control, as_: As, ids: dict[str, str]
) -> None:
    for route, status in (await answers(await as_("stranger"), control.app, ids)).items():
        if route.of_workspace:
            # 400 and 422 come of the body, before anything is looked for.
            assert status in (400, 404, 422), route
        elif "user_id" in route.path or "token_id" in route.path:
            assert status in (400, 404, 422), route
        elif route.path.startswith("/api/v2/admin") or "pool" in route.path:
            assert route.method == "GET" or status >= 400, route


async def test_a_reader_sees_and_changes_nothing(
    control: Control, as_: As, ids: dict[str, str]
) -> None:
    for route, status in (await answers(await as_("reader"), control.app, ids)).items():
        if route.of_workspace and route.method != "GET":
            assert status in (400, 403, 404, 422), route
        elif route.of_workspace:
            assert status in (200, 302, 403, 404), route


async def test_agents_are_told_where_their_port_is(
    control: Control, api: Client, ids: dict[str, str]
) -> None:
    for route in routes(control.app):
        if route.agents:
            answer = await api.call(route.method, route.filled(ids))
            assert answer.status_code == 403, route
            assert control.agent_url in answer.text


async def test_an_agent_does_nothing_but_its_own(
    control: Control, listener: Agent, ids: dict[str, str]
) -> None:
    for route, status in (await answers(listener, control.app, ids)).items():
        if not route.agents and not route.public and route.path not in FOR_AGENTS:
            assert status in (400, 403, 404, 422), route


async def test_another_agent_does_not_know_of_it(
    control: Control, foreign: Agent, ids: dict[str, str]
) -> None:
    for route, status in (await answers(foreign, control.app, ids)).items():
        if route.agents or route.path.endswith("/renew"):
            assert status in (400, 404, 422), route
        elif not route.public and route.path not in FOR_AGENTS:
            assert status in (400, 403, 404, 422), route


@pytest.mark.parametrize(
    "odd", ["nonsense", "%00", "run-1", "..%2f", "ws-1111111111111111", "%F0%9F%98%80", "a" * 3000]
)
async def test_odd_ids_are_not_found(
    control: Control, api: Client, listener: Agent, ids: dict[str, str], odd: str
) -> None:
    strange = dict.fromkeys(ids, odd) | {"organization": "default"}
    for route, status in (await answers(api, control.app, strange)).items():
        assert status < 500, route
    for route, status in (
        await answers(listener, control.app, strange | {"listener_id": listener.id})
    ).items():
        assert status < 500, route


async def test_the_owner_reads_all_of_it(control: Control, as_: As, ids: dict[str, str]) -> None:
    owner = await as_("owner")
    missing = {"{output_id}", "json-output"}
    for route in routes(control.app):
        if route.of_workspace and route.method == "GET":
            status = (await owner.call("GET", route.filled(ids))).status_code
            assert status in (200, 302) or any(part in route.path for part in missing), route
