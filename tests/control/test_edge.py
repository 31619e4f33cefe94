"""What clients ask for first: health, discovery, the handshake, the organization, themselves."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import asyncpg
import httpx
import pytest

from terrapod_control_plane.kernel.single_instance import NotAlone, only_one
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Client
from tests.kit.stack import Server, until

pytestmark = pytest.mark.anyio

JSONAPI = "application/vnd.api+json"
LOCKED = """
select count(*) from pg_locks join pg_database on pg_database.oid = database
where locktype = 'advisory' and granted and datname = current_database()
  and (classid::bigint << 32 | objid::bigint) = hashtextextended('single-node', 0)
"""
ORGANIZATION = "/api/v2/organizations/default"
READY = {
    "status": "ready",
    "checks": {"database": "healthy", "redis": "healthy", "storage": "healthy"},
}


@pytest.fixture
async def nobody(as_: As) -> Client:
    return await as_("nobody")


class Database:
    """A database that takes connections or does not."""

    def __init__(self, cluster: Any, name: str) -> None:
        self._cluster = cluster
        self._name = name

    async def shut(self) -> None:
        await self._cluster.execute(f"alter database {self._name} allow_connections false")
        await self._cluster.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", self._name
        )

    async def keep_still(self, *, still: bool) -> None:
        await self._cluster.execute(
            f"alter database {self._name} set default_transaction_read_only = {still}"
        )
        await self._cluster.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", self._name
        )

    async def open(self) -> None:
        await self._cluster.execute(f"alter database {self._name} allow_connections true")


@pytest.fixture
async def database(dsn: str, fresh: str) -> AsyncIterator[Database]:
    cluster = await asyncpg.connect(dsn)
    yield Database(cluster, urlsplit(fresh).path.removeprefix("/"))
    await cluster.close()


@pytest.fixture
def lonely(fresh: str, tmp_path: Path) -> Iterator[Server]:
    """A server on a database of its own, which may be taken away."""
    server = Server(folder=tmp_path, settings={"TERRAPOD_DATABASE__URL": fresh})
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def document(client: Client, path: str) -> dict[str, Any]:
    """The one resource of an answer."""
    found: dict[str, Any] = (await client.get(path, headers={"accept": JSONAPI}))["data"]
    return found


async def test_the_process_runs(nobody: Client) -> None:
    answer = await nobody.call("GET", "/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})
    assert answer.headers["content-type"] == "application/json"


async def test_a_server_is_ready_when_all_that_requests_need_is(nobody: Client) -> None:
    answer = await nobody.call("GET", "/ready")
    assert (answer.status_code, answer.json()) == (200, READY)
    assert answer.headers["content-type"] == "application/json"


async def test_a_server_is_ready_only_while_its_database_lets_it_in(
    lonely: Server, database: Database
) -> None:
    with lonely.client() as client:

        def ready() -> tuple[int, Any]:
            answer = client.get("/ready")
            return answer.status_code, answer.json()

        assert ready() == (200, READY)
        await database.shut()
        checks = {"database": "unhealthy", "redis": "healthy", "storage": "healthy"}
        refused = (503, {"status": "not ready", "checks": checks})
        assert until(lambda: ready() == refused, "the server is not ready")
        assert client.get("/health").json() == {"status": "healthy"}
        await database.open()
        assert until(lambda: ready() == (200, READY), "the server is ready again")
    events = ("not ready", "ready again")
    told = [json.loads(line) for line in lonely.log.splitlines() if line.startswith("{")]
    told = [line for line in told if line["event"] in events]
    assert [(line["event"], line["part"]) for line in told] == [(e, "database") for e in events]
    assert told[0]["error"]


async def test_a_server_is_not_ready_while_its_database_only_reads(
    lonely: Server, database: Database
) -> None:
    with lonely.client() as client:
        await database.keep_still(still=True)
        assert until(lambda: client.get("/ready").status_code == 503, "not ready", 10)
        checks = client.get("/ready").json()["checks"]
        assert checks == {"database": "unhealthy", "redis": "healthy", "storage": "healthy"}
        assert client.get("/health").status_code == 200
        await database.keep_still(still=False)
        assert until(lambda: client.get("/ready").status_code == 200, "ready again", 15)
    told = [line for line in lonely.log.splitlines() if '"event": "not ready"' in line]
    assert len(told) <= 2  # that it was cut off, that it only reads; and not each second


async def test_discovery_names_what_is_served_and_nothing_else(nobody: Client) -> None:
    answer = await nobody.call("GET", "/.well-known/terraform.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "tfe.v2": "/api/v2/",
        "tfe.v2.1": "/api/v2/",
        "tfe.v2.2": "/api/v2/",
        "state.v2": "/api/v2/",
    }


async def test_the_addresses_of_discovery_are_served(nobody: Client) -> None:
    for base in set((await nobody.get("/.well-known/terraform.json")).values()):
        assert (await nobody.call("GET", f"{base}ping")).status_code == 204


async def test_the_handshake_tells_versions_that_clients_can_read(nobody: Client) -> None:
    answer = await nobody.call("GET", "/api/v2/ping")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["tfp-api-version"] == "2.6"
    assert answer.headers["tfp-appname"] == "Terrapod"
    version = answer.headers["x-tfe-version"]
    # Structured output needs v202302-1, read as the number between the letter and the dash.
    assert version.startswith("v")
    assert int(version[1:].partition("-")[0]) >= 202302
    # Any other number than none makes clients slow themselves down.
    assert "x-ratelimit-limit" not in answer.headers


async def test_versions_stand_on_every_answer(nobody: Client, api: Client) -> None:
    for answer in (await nobody.call("GET", ORGANIZATION), await api.call("GET", ORGANIZATION)):
        assert answer.headers["tfp-api-version"] == "2.6"
        assert answer.headers["tfp-appname"] == "Terrapod"


async def test_documents_are_labelled_as_they_were_asked_for(api: Client) -> None:
    async def label(accept: str) -> str:
        answer = await api.call("GET", ORGANIZATION, headers={"accept": accept})
        return str(answer.headers["content-type"])

    assert await label(JSONAPI) == JSONAPI
    assert await label("*/*") == "application/json"


async def test_the_organization_is_named_default(api: Client, as_: As) -> None:
    found = await document(await as_("stranger"), ORGANIZATION)
    assert (found["type"], found["id"]) == ("organizations", "default")
    attributes = found["attributes"]
    assert attributes["name"] == "default"
    assert isinstance(attributes["email"], str)
    assert attributes["default-execution-mode"] == "remote"
    assert attributes["created-at"].endswith("Z")
    assert attributes["permissions"]["can-create-workspace"] is True
    assert {type(allowed) for allowed in attributes["permissions"].values()} == {bool}
    assert found["relationships"]["default-agent-pool"]["data"] is None
    pool = await factories.pool(api)
    linked = (await document(api, ORGANIZATION))["relationships"]["default-agent-pool"]["data"]
    assert linked == {"type": "agent-pools", "id": pool}


@pytest.mark.parametrize("path", ["", "/entitlement-set", "/workspaces", "/agent-pools"])
async def test_there_is_no_other_organization(api: Client, path: str) -> None:
    answer = await api.call("GET", f"/api/v2/organizations/other{path}")
    assert answer.status_code == 404


async def test_entitlements_are_yes_or_no_and_let_runs_be_remote(as_: As) -> None:
    found = await document(await as_("stranger"), f"{ORGANIZATION}/entitlement-set")
    assert (found["type"], found["id"]) == ("entitlement-sets", "default")
    attributes = found["attributes"]
    assert {type(entitled) for entitled in attributes.values()} == {bool}
    # Without `operations` terraform plans and applies on the caller's machine.
    for name in ("operations", "state-storage", "agents"):
        assert attributes[name] is True, name
    expected = {
        "audit-logging", "cost-estimation", "global-run-tasks", "private-module-registry",
        "private-run-tasks", "run-tasks", "sso", "sentinel", "teams", "vcs-integrations",
    }  # fmt: skip
    assert expected <= set(attributes)


async def test_an_account_tells_whose_token_it_is(as_: As) -> None:
    for name in ("owner", "admin"):
        found = await document(await as_(name), "/api/v2/account/details")
        assert found["type"] == "users"
        assert found["id"].startswith("user-")
        attributes = found["attributes"]
        assert attributes["username"] == attributes["email"] == f"{name}@example.com"
        assert attributes["is-service-account"] is False
        assert attributes["v2-only"] is False
        assert attributes["avatar-url"] == ""
        assert attributes["two-factor"] == {"enabled": False, "verified": False}
        assert attributes["permissions"]["can-manage-user-tokens"] is True
        assert {type(allowed) for allowed in attributes["permissions"].values()} == {bool}


async def test_accounts_differ(as_: As) -> None:
    first, second = [
        (await document(await as_(name), "/api/v2/account/details"))["id"]
        for name in ("owner", "stranger")
    ]
    assert first != second


async def test_nobody_has_no_account_and_sees_no_organization(nobody: Client) -> None:
    answers: list[httpx.Response] = [
        await nobody.call("GET", path)
        for path in ("/api/v2/account/details", ORGANIZATION, f"{ORGANIZATION}/entitlement-set")
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401]


async def test_discovery_is_plain_json_whatever_is_asked_for(nobody: Client) -> None:
    answer = await nobody.call("GET", "/.well-known/terraform.json", headers={"accept": JSONAPI})
    assert answer.headers["content-type"] == "application/json"


async def test_the_first_look_after_the_database_went_is_503(
    lonely: Server, database: Database
) -> None:
    with lonely.client() as client:
        assert client.get("/ready").status_code == 200
        await database.shut()
        assert until(lambda: client.get("/ready").status_code == 503, "not ready", 5)


async def test_a_server_whose_database_was_away_still_keeps_others_out(
    lonely: Server, database: Database, fresh: str
) -> None:
    with pytest.raises(NotAlone):
        async with only_one(fresh, "two", patience=0.1):
            pass
    await database.shut()
    await database.open()
    with lonely.client() as client:
        assert until(lambda: client.get("/ready").status_code == 200, "ready again")
    connection = await asyncpg.connect(fresh)
    with anyio.fail_after(20):
        # It is taken anew a moment later.
        while not await connection.fetchval(LOCKED):  # noqa: ASYNC110 - a lock tells nobody
            await anyio.sleep(0.05)
    await connection.close()
    with pytest.raises(NotAlone):
        async with only_one(fresh, "two", patience=3):
            pass
