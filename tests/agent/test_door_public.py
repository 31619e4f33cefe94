"""A run that shows a token of its user's own is answered by the server's public port."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.agent_server import AgentServer
from tests.kit.agent_sharing import VERSION
from tests.kit.agents import phase
from tests.kit.asgi import Answer
from tests.kit.doors import PublicPort, door_of

pytestmark = pytest.mark.anyio

WORKSPACE = "/api/v2/organizations/default/workspaces/network"


@pytest.fixture
async def public(server: AgentServer) -> AsyncIterator[PublicPort]:
    async with PublicPort().up(server) as port:
        yield port


async def test_a_foreign_bearer_goes_to_the_public_port_as_it_is(
    server: AgentServer, data: Path, public: PublicPort
) -> None:
    plan = server.add(phase("plan", hosts=["terrapod.example.com"]))
    there = b"https://terrapod.example.com/api/v2/state-download/x"
    public.answer = Answer(
        200, b'{"data":"' + there + b'"}', {"content-type": "application/vnd.api+json"}
    )
    async with door_of(server, data, plan, public=public.url) as caller:
        told = await caller.get(f"{WORKSPACE}?include=outputs&page%5Bsize%5D=1", "user.token")
    assert told.status == 200
    # What lies on the server is reached through the door, whose caller need not trust the server.
    assert told.data == f"http://127.0.0.1:{caller.port}/api/v2/state-download/x"
    (seen,) = public.seen
    assert (seen.method, seen.path) == ("GET", WORKSPACE)
    assert seen.query == {"include": "outputs", "page[size]": "1"}
    assert seen.headers["authorization"] == "Bearer user.token"
    assert public.peers[0].certificate == b""
    assert not server.asked


async def test_what_the_server_answers_to_it_comes_back(
    server: AgentServer, data: Path, public: PublicPort
) -> None:
    async with door_of(server, data, server.add(phase("plan")), public=public.url) as caller:
        public.answer = Answer(401, b'{"errors":[]}', {"content-type": "application/vnd.api+json"})
        assert (await caller.get(WORKSPACE, "user.token")).status == 401
        public.answer = Answer(200, b"x" * 3_000_000, {"content-type": "application/json"})
        assert len((await caller.get("/api/v2/state-download/t", "user.token")).body) == 3_000_000
        target = f"{public.url}/api/v2/state-download/t"
        public.answer = Answer(302, b"", {"location": target})
        told = await caller.get(f"/api/v2/state-versions/{VERSION}/download", "user.token")
        moved = f"http://127.0.0.1:{caller.port}/api/v2/state-download/t"
        assert (told.status, told.headers["location"]) == (302, moved)
        public.answer = Answer(204, b"")
        assert (await caller.get("/api/v2/ping", "user.token")).status == 204


NOT_PASSED_ON = [
    ("POST", WORKSPACE),
    ("DELETE", WORKSPACE),
    ("GET", "/health"),
    ("GET", "/api/v2/../../health"),
    ("GET", "/api/v2/workspaces/.."),
    ("GET", "/api/v2/%2e%2e/health"),
    ("GET", "http://elsewhere.example.com/api/v2/ping"),
    ("GET", "@elsewhere.example.com/api/v2/ping"),
    ("GET", "/api/v2//elsewhere.example.com/x"),
    ("GET", "/api/v2/ping?x=<script>"),
]


async def test_a_foreign_bearer_only_reads_the_api(
    server: AgentServer, data: Path, public: PublicPort
) -> None:
    async with door_of(server, data, server.add(phase("plan")), public=public.url) as caller:
        for method, target in NOT_PASSED_ON:
            told = await caller.get(target, "user.token", method)
            assert told.status in (400, 403), target
    assert not public.seen


async def test_a_public_port_that_is_away_is_told(server: AgentServer, data: Path) -> None:
    plan = server.add(phase("plan"))
    async with door_of(server, data, plan, public="https://127.0.0.1:9") as caller:
        assert (await caller.get(WORKSPACE, "user.token")).status == 503
