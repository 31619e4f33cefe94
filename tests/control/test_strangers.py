"""What costs a stranger nothing to send costs the server nothing either."""

import json
import ssl
from typing import Any, get_args
from urllib.parse import urlsplit

import anyio
import msgspec
import pytest
from anyio.streams.tls import TLSStream

from terrapod_control_plane.health import service as health_service
from terrapod_control_plane.kernel.condition import Condition
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.kernel.jsonapi import Payload
from tests.kit import factories, samples
from tests.kit.control import Agent, Client, Control
from tests.kit.routes import changes, routes

pytestmark = pytest.mark.anyio

IDS = dict.fromkeys(
    (
        *("organization", "workspace_id", "name", "run_id", "plan_id", "phase_id", "apply_id"),
        *("variable_id", "configuration_id", "version_id", "output_id", "user_id", "token_id"),
        *("token", "pool_id", "listener_id", "tool", "version", "os", "arch", "join_token"),
        *samples.in_workspace(),
    ),
    "nonsense",
)
# As they stand in a document.
EXTREMES = [
    *("-9223372036854775809", "-2147483649", "-5", "-1", "2147483647", "2147483648"),
    *("9007199254740992", "9223372036854775807", "9223372036854775808", "1" + "0" * 400),
    *("1.5", "1e308", "1e999", "NaN", "Infinity", "-0", '"7"', "true"),
]
QUERIES = [
    *("-1", "-5", "2147483648", "9007199254740991", "9223372036854775808", "1" * 400),
    *("NaN", "Infinity", "1e9", "0x10", "%D9%A3", "+1", "%00", "1.5", ""),
]


async def head_only(control: Control, head: str) -> bytes:
    """The answer to a request whose body is announced and never sent."""
    url = urlsplit(control.public_url)
    context = ssl.create_default_context(cadata=control.services.authority.cert_pem.decode())
    assert url.hostname is not None
    assert url.port is not None
    stream: TLSStream = await anyio.connect_tcp(url.hostname, url.port, ssl_context=context)
    try:
        await stream.send(f"{head}\r\nHost: localhost\r\n\r\n".encode())
        with anyio.fail_after(3):
            return await stream.receive()
    finally:
        await anyio.aclose_forcefully(stream)


async def test_every_answer_to_nobody_comes_before_the_body(control: Control) -> None:
    for route in routes(control.app):
        path = route.filled(IDS)
        found = await head_only(
            control, f"{route.method} {path} HTTP/1.1\r\nContent-Length: 9500000"
        )
        status = int(found.split()[1])
        allowed = {200, 204, 401, 403, 404, 413}
        assert status in allowed, f"{route.method} {route.path}: {found[:200]!r}"
        if not route.public:
            assert status in (401, 403), f"{route.method} {route.path}: {status}"


@pytest.mark.parametrize("path", ["/api/v2/agent-pools/join", "/api/v2/listeners/x/renew"])
async def test_a_stranger_says_little(control: Control, path: str) -> None:
    most = control.services.settings.server.stranger_bytes_at_most
    found = await head_only(control, f"POST {path} HTTP/1.1\r\nContent-Length: {most + 1}")
    assert found.startswith(b"HTTP/1.1 413 ")
    client = await control.client()

    async def chunks() -> Any:
        for _ in range(100):
            yield b"[" * 4096

    answer = await client.call("POST", path, content=chunks())
    assert answer.status_code == 413


async def test_a_document_is_no_upload(api: Client) -> None:
    path = "/api/v2/organizations/default/workspaces"
    answer = await api.call("POST", path, content=bytes(5 * 1024 * 1024))
    assert answer.status_code == 413


async def test_asking_whether_it_is_ready_asks_nobody_else(control: Control) -> None:
    condition = Condition(lambda: 0.0, every=1)
    condition.saw({"database": "", "redis": "", "storage": ""})
    # Whoever used a blob store or an ephemeral store here would fail.
    alone = msgspec.structs.replace(
        control.services, blobs=None, ephemeral=None, bus=None, condition=condition
    )
    assert (await health_service.readiness(system(alone))).status == "ready"
    condition.saw({"storage": "no space"})
    found = await health_service.readiness(system(alone))
    assert (found.status, found.checks.storage) == ("not ready", "unhealthy")


def test_a_server_that_has_not_looked_for_long_is_not_ready() -> None:
    now = [0.0]
    condition = Condition(lambda: now[0], every=1)
    assert condition.trouble("database")
    condition.saw({"database": ""})
    assert not condition.trouble("database")
    now[0] = 60.0
    assert condition.trouble("database")


async def test_no_number_of_a_query_is_a_mistake_of_ours(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    ids = IDS | {"workspace_id": workspace, "run_id": run, "phase_id": work["phase_id"]}
    ids |= {"listener_id": listener.id, "organization": "default"}
    for route in routes(control.app):
        client = listener if route.agents else api
        path = route.filled(ids).partition("?")[0]
        names = ["fence", "offset", "slot", "seen"] if route.agents else ["page[number]"]
        for name in [*names, "page[size]", "limit", "offset", "wait"]:
            for text in QUERIES:
                # What is a number of seconds is waited for.
                if route.method == "GET" and not (name == "wait" and text[:1].isdecimal()):
                    query = f"{name}={text}" if name == "wait" else f"wait=0&{name}={text}"
                    await client.call("GET", f"{path}?{query}")
    await still_well(api, run)


async def test_no_number_of_a_document_is_a_mistake_of_ours(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    await factories.configuration(api, workspace)
    run = await factories.run(api, workspace)
    ids = IDS | {"workspace_id": workspace, "run_id": run, "pool_id": pool}
    ids |= {"listener_id": listener.id, "organization": "default"}
    handlers = {
        (method, route.path_format): handler
        for route in control.app.routes
        for handler in route.route_handlers
        for method in handler.http_methods
    }
    tried = 0
    for route in changes(control.app):
        if (route.method, route.path) not in samples.bodies() or route.public:
            continue
        body = samples.bodies()[route.method, route.path].filled(ids)
        data = handlers[route.method, route.path].parsed_fn_signature.parameters.get("data")
        for name in numbers_of(data.annotation if data else None):
            for text in EXTREMES:
                document = json.loads(body)
                document["data"]["attributes"][name] = "HERE"
                sent = json.dumps(document).replace('"HERE"', text)
                await api.call(route.method, route.filled(ids), content=sent.encode())
                tried += 1
    assert tried > 50
    for text in EXTREMES:
        for said in (
            f'{{"slots": {text}}}',
            f'{{"holding": [{{"phase_id": "x", "fence": {text}}}]}}',
        ):
            answer = await listener.call("POST", f"{listener.at}/heartbeat", content=said.encode())
            assert answer.status_code in (200, 400, 422)
        for name in ("fence", "additions", "log_size"):
            said = f'{{"status": "planning", "phase_id": "x", "{name}": {text}}}'
            await listener.call("PATCH", f"{listener.at}/runs/{run}", content=said.encode())
    await still_well(api, run)


def numbers_of(annotation: Any) -> list[str]:
    """The attributes of a payload that hold whole numbers, by their names in documents."""
    kinds = [annotation, *get_args(annotation)]
    payload = next((k for k in kinds if isinstance(k, type) and issubclass(k, Payload)), None)
    if payload is None:
        return []
    return [
        field.encode_name
        for field in msgspec.structs.fields(payload)
        if int in (field.type, *get_args(field.type)) or "int" in str(field.type)
    ]


async def still_well(api: Client, run: str) -> None:
    """Nothing that was said makes anything unreadable."""
    for path in (
        f"/api/v2/runs/{run}",
        "/api/v2/organizations/default/runs/queue",
        "/api/v2/organizations/default/agent-pools",
        "/api/v2/organizations/default/workspaces",
        "/api/v2/organizations/default/capacity",
    ):
        assert (await api.call("GET", path)).status_code == 200, path


async def test_slots_that_no_agent_has_are_refused(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    for slots in (2**31 - 1, -5, 1025):
        said = await listener.call("POST", f"{listener.at}/heartbeat", json={"slots": slots})
        assert said.status_code == 422
        assert (await api.call("GET", f"/api/v2/runs/{run}")).status_code == 200
