"""Every route of the application, called by everybody: who is let in, and who is told what."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from terrapod_control_plane.kernel import db
from tests.control.conftest import As
from tests.kit import factories, samples
from tests.kit.control import Agent, Client, Control
from tests.kit.routes import FOR_AGENTS, OPEN, PUBLIC, Route, changes, routes

pytestmark = pytest.mark.anyio


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
    known = {
        "organization": "default",
        "workspace_id": workspace,
        "name": "app",
        "run_id": run,
        "plan_id": shown["plan"]["data"]["id"],
        "phase_id": shown["apply"]["data"]["id"],
        "apply_id": shown["apply"]["data"]["id"],
        "variable_id": variable["data"]["id"],
        "configuration_id": configuration,
        "version_id": version["data"]["id"],
        "output_id": "wsout-11111111111111111111",
        "user_id": user,
        "token_id": token["data"][0]["id"],
        "token": "nonsense",
        "join_token": "nonsense",
        "pool_id": pool,
        "listener_id": listener.id,
        "tool": "terraform",
        "version": "1.9.0",
        "os": "linux",
        "arch": "amd64",
    }
    for name, make in samples.in_workspace().items():
        known[name] = await make(owner, known)
    return known


# Where to look when a route refuses the body and the ids that are to be valid.
_HINTS = {
    404: "Does slice.py declare kinds and scopes of its id?",
    422: f"Is its body valid in {samples.AT}?",
    500: "The log above has the error.",
}
Everybody = Callable[[str], Awaitable[Client]]


@pytest.fixture
def everybody(as_: As, listener: Agent, foreign: Agent) -> Everybody:
    """A client as anybody, agents too: one that did the work, and another of its pool."""
    agents: dict[str, Client] = {"agent": listener, "foreign agent": foreign}

    async def client(name: str) -> Client:
        return agents[name] if name in agents else await as_(name)

    return client


async def answer(client: Client, route: Route, ids: dict[str, str]) -> int:
    sent = await client.call(route.method, route.filled(ids), content=route.body(ids))
    return sent.status_code


async def answers(client: Client, app: Any, ids: dict[str, str]) -> dict[Route, int]:
    """What everything answers, with a valid body where it takes one."""
    return {route: await answer(client, route, ids) for route in routes(app)}


async def contents() -> dict[str, Any]:
    """All that the database holds, but for when a token was last used."""
    tables = await db.rows("select tablename from pg_tables where schemaname = 'public'")
    return {
        name: await db.value(
            f"select jsonb_agg(to_jsonb(t) - 'last_used_at' order by to_jsonb(t)::text) "
            f'from "{name}" t'
        )
        for name in (table["tablename"] for table in tables)
    }


async def test_every_route_that_takes_a_body_has_a_valid_one_here(serving: Control) -> None:
    takers = {(route.method, route.path) for route in routes(serving.app) if route.takes_body}
    known = set(samples.bodies())
    untold, unasked = takers - known, known - takers
    assert not untold, f"without a valid body in {samples.AT}: {untold}"
    assert not unasked, f"bodies of no route that takes one: {unasked}"


async def test_the_bodies_are_valid(
    control: Control, api: Client, listener: Agent, pool: str, ids: dict[str, str]
) -> None:
    made = await api.post(
        f"/api/v2/agent-pools/{pool}/authentication-tokens",
        {"type": "authentication-tokens", "attributes": {"description": "for a test"}},
    )
    ids = ids | {"join_token": made["data"]["attributes"]["token"]}
    for route in routes(control.app):
        # Of these the URL or a key decides, before the body counts.
        by_url = route.path.endswith(("{token}", "/content", "/renew"))
        if route.takes_body and not by_url:
            status = await answer(listener if route.agents else api, route, ids)
            assert status in (200, 201, 202, 204, 409), f"{route}: {status}. {_HINTS.get(status)}"


@pytest.mark.parametrize("who", ["stranger", "reader", "agent", "foreign agent"])
async def test_who_may_not_is_refused_and_changes_nothing(
    control: Control, everybody: Everybody, ids: dict[str, str], who: str
) -> None:
    client = await everybody(who)
    before = await contents()
    for route in changes(control.app):
        if expected := route.refusal(who):
            assert await answer(client, route, ids) == expected, route
    assert await contents() == before


async def test_nobody_changes_anything(control: Control, as_: As, ids: dict[str, str]) -> None:
    before = await contents()
    await answers(await as_("nobody"), control.app, ids)
    await answers(await control.client("user.nonsense"), control.app, ids)
    assert await contents() == before


@pytest.mark.parametrize("who", ["stranger", "reader"])
async def test_any_person_may_have_a_workspace(as_: As, who: str) -> None:
    client = await as_(who)
    made = (await client.get(f"/api/v2/workspaces/{await factories.workspace(client)}"))["data"]
    user = (await client.get("/api/v2/account/details"))["data"]["id"]
    assert made["relationships"]["owner"]["data"]["id"] == user


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
            assert status == route.refusal("nobody"), route
        else:
            assert status == (403 if route.agents else 401), route


async def test_a_wrong_token_is_no_better_than_none(control: Control, ids: dict[str, str]) -> None:
    for route, status in (
        await answers(await control.client("user.nonsense"), control.app, ids)
    ).items():
        if not route.public:
            assert status == (403 if route.agents else 401), route


# What a read is answered with, by those who may not do all.
@pytest.mark.parametrize(
    ("who", "of", "statuses"),
    [
        ("stranger", "workspace", {404}),
        ("stranger", "user", {404}),
        ("stranger", "agents", {403}),
        ("reader", "workspace", {200, 302, 403, 404}),
        ("reader", "user", {200}),
        ("agent", "workspace", {404}),
        ("agent", "user", {404}),
        ("agent", "operators", {403}),
        ("foreign agent", "workspace", {404}),
        ("foreign agent", "user", {404}),
        ("foreign agent", "operators", {403}),
        ("foreign agent", "agents", {404}),
    ],
)
async def test_what_somebody_may_read(
    control: Control,
    everybody: Everybody,
    ids: dict[str, str],
    who: str,
    of: str,
    statuses: set[int],
) -> None:
    client = await everybody(who)
    for route in routes(control.app):
        if route.method == "GET" and route.of == of and route.path not in FOR_AGENTS:
            assert await answer(client, route, ids) in statuses, route


async def test_agents_are_told_where_their_port_is(
    control: Control, api: Client, ids: dict[str, str]
) -> None:
    for route in routes(control.app):
        if route.agents:
            told = await api.call(route.method, route.filled(ids))
            assert told.status_code == 403, route
            assert control.agent_url in told.text


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
        if route.of == "workspace" and route.method == "GET":
            status = (await owner.call("GET", route.filled(ids))).status_code
            assert status in (200, 302) or any(part in route.path for part in missing), route
