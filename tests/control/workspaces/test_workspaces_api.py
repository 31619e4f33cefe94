"""Workspaces over HTTP: lists, changes, tags and the end of one."""

import base64
import hashlib
import json
from typing import Any

import pytest

from terrapod_control_plane.kernel import db
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Client, problems

pytestmark = pytest.mark.anyio

ALL = "/api/v2/organizations/default/workspaces"
RESOURCE = {"mode": "managed", "type": "null_resource", "name": "a", "instances": [{}]}


async def listed(client: Client, **params: str) -> list[str]:
    """The names of a list."""
    return [one["attributes"]["name"] for one in (await client.get(ALL, params=params))["data"]]


def settings(**attributes: Any) -> Any:
    return {"data": {"type": "workspaces", "attributes": attributes}}


async def reached(api: Client, workspace: str, serial: int, *resources: object) -> None:
    """The workspace gets a state."""
    state = factories.STATE | {"serial": serial, "resources": list(resources)}
    body = json.dumps(state).encode()
    given = {"serial": serial, "md5": hashlib.md5(body).hexdigest()}
    given["state"] = base64.b64encode(body).decode()
    made = {"type": "state-versions", "attributes": given}
    await api.post(f"/api/v2/workspaces/{workspace}/state-versions", made)


@pytest.fixture
async def five(api: Client) -> list[str]:
    """Workspaces, made in another order than that of their names."""
    names = ["c", "a", "e", "b", "d"]
    for name in names:
        await factories.workspace(api, name)
    return sorted(names)


@pytest.fixture
async def labeled(api: Client) -> None:
    """Workspaces with tags of both kinds."""
    tags = {
        "app-dev": ([], {"env": "dev", "team": "web"}),
        "app-prod": (["live"], {"env": "prod", "team": "web"}),
        "db-prod": (["live", "slow"], {"env": "prod"}),
        "plain": ([], {}),
    }
    for name, (plain, bound) in tags.items():
        id_ = await factories.workspace(api, name)
        data = [{"type": "tags", "attributes": {"name": tag}} for tag in plain]
        await api.post(f"/api/v2/workspaces/{id_}/relationships/tags", data)
        bind = [
            {"type": "tag-bindings", "attributes": {"key": key, "value": value}}
            for key, value in bound.items()
        ]
        await api.call("PATCH", f"/api/v2/workspaces/{id_}/tag-bindings", json={"data": bind})


async def test_a_page_says_where_it_stands(api: Client, five: list[str]) -> None:
    shown = await api.get(ALL, params={"page[size]": "2", "page[number]": "2"})
    assert [one["attributes"]["name"] for one in shown["data"]] == five[2:4]
    assert shown["meta"]["pagination"] == {
        "current-page": 2,
        "page-size": 2,
        "prev-page": 1,
        "next-page": 3,
        "total-pages": 3,
        "total-count": 5,
    }


async def test_the_links_of_a_page_lead_to_the_others(api: Client, five: list[str]) -> None:
    query = {"page[size]": "2", "page[number]": "2", "sort": "-name", "search[wildcard-name]": "*"}
    links = (await api.get(ALL, params=query))["links"]
    down = five[::-1]
    wanted = {"first": down[:2], "self": down[2:4], "next": down[4:], "prev": down[:2]}
    assert set(links) == {*wanted, "last"}
    for name, names in {**wanted, "last": down[4:]}.items():
        found = (await api.get(links[name]))["data"]
        assert [one["attributes"]["name"] for one in found] == names


async def test_a_page_far_beyond_the_last_is_empty(api: Client, five: list[str]) -> None:
    shown = await api.get(ALL, params={"page[number]": "999"})
    pages = shown["meta"]["pagination"]
    assert shown["data"] == []
    assert (pages["current-page"], pages["total-count"], pages["next-page"]) == (999, 5, None)


async def test_an_empty_list_has_no_pages(api: Client) -> None:
    pages = (await api.get(ALL))["meta"]["pagination"]
    assert (pages["current-page"], pages["total-count"], pages["total-pages"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("asked", "size"), [("1", 1), ("100", 100), ("101", 100), ("0", 20), ("-1", 20), ("x", 20)]
)
async def test_the_size_of_a_page_is_held_in_bounds(
    api: Client, five: list[str], asked: str, size: int
) -> None:
    shown = await api.get(ALL, params={"page[size]": asked})
    assert shown["meta"]["pagination"]["page-size"] == size
    assert len(shown["data"]) == min(size, 5)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"search[name]": "APP"}, ["app-dev", "app-prod"]),
        ({"search[name]": "%"}, []),
        ({"search[wildcard-name]": "*-prod"}, ["app-prod", "db-prod"]),
        ({"search[wildcard-name]": "prod"}, []),
        ({"search[tags]": "live"}, ["app-prod", "db-prod"]),
        ({"search[tags]": "live,slow"}, ["db-prod"]),
        ({"search[tags]": "none"}, []),
        ({"search[exclude-tags]": "live"}, ["app-dev", "plain"]),
        ({"filter[tagged][0][key]": "env"}, ["app-dev", "app-prod", "db-prod"]),
        (
            {"filter[tagged][0][key]": "env", "filter[tagged][0][value]": "prod"},
            ["app-prod", "db-prod"],
        ),
        (
            {
                "filter[tagged][0][key]": "env",
                "filter[tagged][0][value]": "prod",
                "filter[tagged][1][key]": "team",
            },
            ["app-prod"],
        ),
        ({"sort": "name"}, ["app-dev", "app-prod", "db-prod", "plain"]),
        ({"sort": "-name"}, ["plain", "db-prod", "app-prod", "app-dev"]),
    ],
    ids=str,
)
@pytest.mark.usefixtures("labeled")
async def test_a_list_is_narrowed_and_sorted(
    api: Client, query: dict[str, str], names: list[str]
) -> None:
    shown = await api.get(ALL, params=query)
    assert [one["attributes"]["name"] for one in shown["data"]] == names
    assert shown["meta"]["pagination"]["total-count"] == len(names)


async def test_a_list_shows_and_counts_only_what_its_reader_may_see(
    as_: As, api: Client, five: list[str]
) -> None:
    stranger = await as_("stranger")
    await factories.workspace(stranger, "mine")
    shown = await stranger.get(ALL)
    assert [one["attributes"]["name"] for one in shown["data"]] == ["mine"]
    assert shown["meta"]["pagination"]["total-count"] == 1
    assert await listed(await as_("reader")) == [*five, "mine"]
    assert (await (await as_("nobody")).call("GET", ALL)).status_code == 401


async def test_a_name_is_taken_once(api: Client) -> None:
    await factories.workspace(api, "app")
    other = await factories.workspace(api, "other")
    again = await api.call("POST", ALL, json=settings(name="app"))
    renamed = await api.call("PATCH", f"/api/v2/workspaces/{other}", json=settings(name="app"))
    for answer in (again, renamed):
        assert answer.status_code == 409, answer.text
        assert problems(answer)[0]["source"] == {"pointer": "/data/attributes/name"}
    assert await listed(api) == ["app", "other"]


async def test_only_one_organization_is_known(api: Client) -> None:
    elsewhere = ALL.replace("default", "elsewhere")
    assert (await api.call("GET", elsewhere)).status_code == 404
    assert (await api.call("POST", elsewhere, json=settings(name="app"))).status_code == 404


async def test_a_change_keeps_what_it_does_not_name(api: Client) -> None:
    id_ = await factories.workspace(api, "app", description="old", **{"auto-apply": True})
    for at, given in (
        (f"/api/v2/workspaces/{id_}", {"description": "new"}),
        (f"{ALL}/app", {"name": "renamed", "working-directory": "sub"}),
    ):
        changed = await api.call("PATCH", at, json=settings(**given))
        assert changed.status_code == 200, changed.text
        assert changed.json()["data"]["id"] == id_
    shown = (await api.get(f"{ALL}/renamed"))["data"]
    wanted = {"name": "renamed", "description": "new", "auto-apply": True}
    wanted |= {"working-directory": "sub", "terraform-version": "1.9.0"}
    assert wanted.items() <= shown["attributes"].items()
    assert shown["links"]["self"] == f"{ALL}/renamed"
    assert (await api.call("GET", f"{ALL}/app")).status_code == 404


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"name": "a b"}, "name"),
        ({"working-directory": "../up"}, "working-directory"),
        ({"terraform-version": "$(rm)"}, "terraform-version"),
        ({"execution-mode": "odd"}, "execution-mode"),
        ({"auto-apply": "yes"}, "auto-apply"),
        ({"agent-pool-id": "apool-1111111111111111"}, "agent-pool-id"),
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(
    api: Client, workspace: str, given: dict[str, Any], pointer: str
) -> None:
    at = f"/api/v2/workspaces/{workspace}"
    before = await api.get(at)
    answer = await api.call("PATCH", at, json=settings(description="new", **given))
    assert answer.status_code == 422, answer.text
    assert problems(answer)[0]["source"] == {"pointer": f"/data/attributes/{pointer}"}
    assert await api.get(at) == before


async def test_who_may_not_change_a_workspace_is_told_so_if_they_see_it(
    as_: As, workspace: str
) -> None:
    for name, status in (("reader", 403), ("stranger", 404), ("nobody", 401)):
        client = await as_(name)
        for at in (f"/api/v2/workspaces/{workspace}", f"{ALL}/app"):
            asked = await client.call("PATCH", at, json=settings(description="theirs"))
            removed = await client.call("DELETE", at)
            safely = await client.call("POST", f"{at}/actions/safe-delete")
            assert {a.status_code for a in (asked, removed, safely)} == {status}
    assert await listed(await as_("admin")) == ["app"]


async def test_tags_come_and_go(api: Client, workspace: str) -> None:
    at = f"/api/v2/workspaces/{workspace}"
    new = [{"type": "tags", "attributes": {"name": name}} for name in ("one", "two", "one")]
    added = await api.call("POST", f"{at}/relationships/tags", json={"data": new})
    assert added.status_code == 204, added.text
    bound = {"type": "tag-bindings", "attributes": {"key": "env", "value": "dev"}}
    await api.call("PATCH", f"{at}/tag-bindings", json={"data": [bound]})
    gone = {"data": [{"type": "tags", "attributes": {"name": "one"}}]}
    assert (await api.call("DELETE", f"{at}/relationships/tags", json=gone)).status_code == 204
    tags = (await api.get(f"{at}/relationships/tags"))["data"]
    assert [(tag["type"], tag["attributes"]["name"]) for tag in tags] == [("tags", "two")]
    assert (await api.get(at))["data"]["attributes"]["tag-names"] == ["two"]
    for kind in ("tag-bindings", "effective-tag-bindings"):
        found = (await api.get(f"{at}/{kind}"))["data"]
        assert {one["type"] for one in found} == {kind}
        pairs = [(one["attributes"]["key"], one["attributes"]["value"]) for one in found]
        assert pairs == [("env", "dev"), ("two", "")]


@pytest.mark.parametrize("by", ["id", "name"])
@pytest.mark.usefixtures("listener")
async def test_a_deleted_workspace_takes_everything_along(
    api: Client, workspace: str, by: str
) -> None:
    run = await factories.run(api, workspace)
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    await reached(api, workspace, 1, RESOURCE)
    at = f"/api/v2/workspaces/{workspace}" if by == "id" else f"{ALL}/app"
    assert (await api.call("DELETE", at)).status_code == 204
    assert (await api.call("DELETE", at)).status_code == 404
    assert (await api.call("GET", f"/api/v2/runs/{run}")).status_code == 404
    left = [
        await db.value(f"select count(*) from {table}")
        for table in ("runs", "phases", "state_versions", "configuration_versions")
    ]
    assert left == [0, 0, 0, 0]
    await factories.workspace(api, "app")


@pytest.mark.parametrize("by", ["id", "name"])
async def test_what_manages_nothing_is_safe_to_delete(api: Client, workspace: str, by: str) -> None:
    at = f"/api/v2/workspaces/{workspace}" if by == "id" else f"{ALL}/app"
    await reached(api, workspace, 1, RESOURCE)
    refused = await api.call("POST", f"{at}/actions/safe-delete")
    assert refused.status_code == 409
    assert "still managing resources" in problems(refused)[0]["detail"]
    assert await listed(api) == ["app"]
    await reached(api, workspace, 2, RESOURCE | {"mode": "data"})
    assert (await api.call("POST", f"{at}/actions/safe-delete")).status_code == 204
    assert await listed(api) == []


async def test_what_never_had_a_state_is_safe_to_delete(api: Client) -> None:
    id_ = await factories.workspace(api)
    answer = await api.call("POST", f"/api/v2/workspaces/{id_}/actions/safe-delete")
    assert (answer.status_code, await listed(api)) == (204, [])
