"""The door of a run: what it gives to whom, and what it takes from nobody."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import msgspec
import pytest

from terrapod_common import wire
from tests.kit.agent_server import AgentServer
from tests.kit.agent_sharing import NETWORK, OUTPUT, STATE, VERSION
from tests.kit.agents import phase
from tests.kit.doors import Caller, door_of

pytestmark = pytest.mark.anyio

WORKSPACE = "/api/v2/organizations/default/workspaces/network"
CURRENT = f"/api/v2/workspaces/{NETWORK}/current-state-version"


@pytest.fixture
async def caller(server: AgentServer, data: Path) -> AsyncIterator[Caller]:
    async with door_of(server, data, server.add(phase("plan"))) as caller:
        yield caller


# --- what it gives --------------------------------------------------------------------------------


async def test_a_state_is_found_by_name_and_downloaded(server: AgentServer, caller: Caller) -> None:
    assert (await caller.get("/api/v2/ping")).status == 204
    entitled = await caller.get("/api/v2/organizations/default/entitlement-set")
    assert entitled.headers["tfp-api-version"] == "2.6"
    found = msgspec.json.decode((await caller.get(WORKSPACE)).body)["data"]
    assert (found["id"], found["attributes"]["name"]) == (NETWORK, "network")
    current = msgspec.json.decode((await caller.get(CURRENT)).body)["data"]
    assert (current["id"], current["attributes"]["serial"]) == (VERSION, 3)
    url = current["attributes"]["hosted-state-download-url"]
    for bearer in (None, "", "somebody-else"):  # its token is in its path
        assert msgspec.json.decode((await caller.get(url, bearer)).body) == STATE
    assert all(asked["fence"] == "1" for asked in server.asked)


async def test_outputs_are_read_as_tfe_outputs_does(caller: Caller) -> None:
    for path in (f"{CURRENT}-outputs", f"/api/v2/state-versions/{VERSION}/outputs"):
        told = await caller.get(path)
        assert (told.status, msgspec.json.decode(told.body)["data"][0]["id"]) == (200, OUTPUT)
    one = await caller.get(f"/api/v2/state-version-outputs/{OUTPUT}")
    assert one.status == 200, one.body
    assert msgspec.json.decode(one.body)["data"]["attributes"]["value"] == "hunter2hunter2"


async def test_a_workspace_without_a_state_has_none(server: AgentServer, caller: Caller) -> None:
    server.shared["network"].state = None
    assert (await caller.get(CURRENT)).status == 404
    assert (await caller.get(f"{CURRENT}-outputs")).data == []


async def test_a_refusal_is_told_in_the_server_s_words(caller: Caller) -> None:
    told = await caller.get("/api/v2/organizations/default/workspaces/secret")
    assert (told.status, told.detail) == (
        403,
        "The workspace secret does not share its state with web.",
    )
    other = await caller.get("/api/v2/organizations/other/workspaces/network")
    assert (other.status, other.detail) == (404, "There is no organization other.")


async def test_a_stale_fence_is_told(server: AgentServer, caller: Caller) -> None:
    server.phases["plan-1"].fence += 1
    told = await caller.get(WORKSPACE)
    assert (told.status, told.detail) == (409, "the fence is stale")


@pytest.mark.parametrize("how", ["lose_answer", "lose_question", "status"])
@pytest.mark.parametrize("call", ["shared_workspace", "shared_state"])
async def test_a_server_that_is_away_for_a_moment_is_waited_for(
    server: AgentServer, caller: Caller, call: str, how: str
) -> None:
    current = msgspec.json.decode((await caller.get(CURRENT)).body)["data"]
    server.fault(call, how, times=3)
    assert (await caller.get(WORKSPACE)).status == 200
    told = await caller.get(current["attributes"]["hosted-state-download-url"])
    assert msgspec.json.decode(told.body) == STATE
    assert not server.faults


async def test_a_server_that_stays_away_is_told(server: AgentServer, data: Path) -> None:
    plan = server.add(phase("plan"))
    async with door_of(server, data, plan, patience=0.3) as caller:
        server.fault("shared_workspace", "status", times=1000)
        assert (await caller.get(WORKSPACE)).status == 503


# --- whom it lets in ------------------------------------------------------------------------------


@pytest.mark.parametrize("bearer", ["", "door.", "door.wrong", "door.w\u00e4hler"])
async def test_without_its_password_it_stays_shut(
    server: AgentServer, caller: Caller, bearer: str
) -> None:
    told = await caller.get(WORKSPACE, bearer)
    assert (told.status, told.detail) == (401, "This is the door of a run, and needs its password.")
    assert not server.asked


async def test_another_door_s_password_opens_nothing(server: AgentServer, tmp_path: Path) -> None:
    first, second = phase("plan"), phase("plan", phase_id="plan-2")
    async with (
        door_of(server, tmp_path / "a", server.add(first)) as one,
        door_of(server, tmp_path / "b", server.add(second)) as other,
    ):
        assert (await one.get(WORKSPACE)).status == 200
        assert (await Caller(one.port, other.bearer).get(WORKSPACE)).status == 401
        url = msgspec.json.decode((await other.get(CURRENT)).body)["data"]["attributes"]
        assert (await one.get(url["hosted-state-download-url"])).status == 403
        assert (await one.get(url["hosted-state-download-url"], "")).status == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "Authorization: Basic PASSWORD",
        "Authorization: PASSWORD",
        "Authorization: Bearer PASSWORD\nAuthorization: Bearer PASSWORD",
        "Authorization: Bearer PASSWORD\nAuthorization: Bearer other",
        "X-Authorization: Bearer PASSWORD",
    ],
)
async def test_a_password_is_shown_in_one_way(caller: Caller, authorization: str) -> None:
    lines = f"GET {WORKSPACE} HTTP/1.1\nHost: a\n{authorization}\n\n"
    assert (await caller.raw(caller.with_password(lines))).status == 401


async def test_it_is_shut_when_the_phase_ends(server: AgentServer, data: Path) -> None:
    async with door_of(server, data, server.add(phase("plan"))) as caller:
        assert (await caller.get("/api/v2/ping")).status == 204
    with pytest.raises(OSError, match=r"All connection attempts failed|refused"):
        await caller.get("/api/v2/ping")


async def test_nothing_is_changed_through_it(server: AgentServer, caller: Caller) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"):
        for target in (WORKSPACE, f"/api/v2/workspaces/{NETWORK}", CURRENT):
            assert (await caller.get(target, method=method)).status == 403, method
    assert not server.asked


async def test_a_writer_is_told_so_after_it_has_sent_all(caller: Caller) -> None:
    body = b"x" * 500_000
    lines = f"PUT {CURRENT} HTTP/1.1\nHost: a\nAuthorization: Bearer PASSWORD\n"
    head = caller.with_password(f"{lines}Content-Length: {len(body)}\n\n")
    told = await caller.raw(head + body)
    assert told.status == 403
    assert told.detail.startswith("A run reads the state of other workspaces")


# --- what goes upstream ---------------------------------------------------------------------------


OTHER_PATHS = [
    "/",
    "/api/v2",
    "/api/v2/",
    "//api/v2/ping",
    "/api/v2//ping",
    "/api/v2/ping/",
    "/API/v2/ping",
    "/api/v2/../v2/ping",
    "/api/v2/./ping",
    "/api/v2/%70ing",
    "/api/v2/ping%00",
    "/api/v2/ping;x",
    "http://127.0.0.1/api/v2/ping",
    "https://terrapod.example.com/api/v2/ping",
    "127.0.0.1:80",
    "*",
    f"{WORKSPACE}%2f..%2fother",
    f"{WORKSPACE}/../other",
    "/api/v2/organizations/default/workspaces/..",
    "/api/v2/organizations/default/workspaces/%2e%2e",
    "/api/v2/organizations/default/workspaces/a%0d%0ab",
    "/api/v2/organizations/default/workspaces/" + "a" * 91,
    "/api/v2/workspaces/ws-1",
    "/api/v2/workspaces/sv-1111111111111111",
    "/api/v2/workspaces/ws-1111111111111111..",
    f"/api/v2/workspaces/{NETWORK}/vars",
    f"/api/v2/workspaces/{NETWORK}/state-versions",
    f"/api/v2/state-versions/{VERSION}/download",
    "/api/v2/listeners/lsn-1/runs/next",
    f"/api/v2/door-/states/{VERSION}",
    f"/api/v2/door-x/states/{VERSION}",
    "/.well-known/terraform.json",
]


async def test_other_paths_reach_nobody(server: AgentServer, caller: Caller) -> None:
    before = list(server.calls)
    for target in OTHER_PATHS:
        assert (await caller.get(target)).status in (400, 403), target
    assert server.calls == before


async def test_nothing_of_a_request_but_its_parameters_goes_upstream(
    server: AgentServer, caller: Caller
) -> None:
    told = await caller.get(f"{WORKSPACE}?name=other&fence=9&id=ws-2222222222222222&page[size]=1")
    assert told.status == 200
    assert server.asked == [
        {"fence": "1", "name": "network", "listener_id": "lsn-1", "phase_id": "plan-1"}
    ]


async def test_many_ask_at_once(server: AgentServer, caller: Caller) -> None:
    told: list[int] = []

    async def ask() -> None:
        told.append((await caller.get(WORKSPACE)).status)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(ask)
    assert told == [200] * 100


def test_work_of_an_older_server_names_no_host() -> None:
    old = msgspec.to_builtins(phase("plan").work)
    del old["hosts"]
    assert msgspec.convert(old, wire.Work).hosts == []
