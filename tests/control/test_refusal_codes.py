"""Whatever an agent is refused has a code; people are answered as ever."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from terrapod_common.agent_protocol import CALLS, Code
from tests.control.conftest import As
from tests.control.test_strangers import IDS
from tests.kit import factories
from tests.kit.control import Agent, Client, Control, problems
from tests.kit.routes import Route, routes

pytestmark = pytest.mark.anyio

# What is wrong with a request: its body, its query, or nothing but what it names.
BAD = {
    "malformed": (b"{", ""),
    "mis-shaped": (b"[]", ""),
    "no number": (b"", "fence=x&offset=x&slot=x&wait=x"),
    "strange": (None, ""),
}


def of_agents(control: Control) -> list[Route]:
    """The routes of the agent plane, and those by which agents join."""
    calls = {(call.method, call.path.replace("/api/v2", "", 1)) for call in CALLS}
    found = [
        route
        for route in routes(control.app)
        if route.agents or route.path.endswith(("/join", "/nonce", "/renew"))
    ]
    assert len(found) >= len(calls) - 1  # all but that for tools, which people may call too
    return found


def code_of(answer: httpx.Response) -> Code:
    """The one code of a refusal; an unknown one fails."""
    [problem] = problems(answer)
    return Code(problem["code"])


async def refusals(client: Client, control: Control, ids: dict[str, str]) -> AsyncIterator[Any]:
    """Everything that somebody is refused, by every route and every mistake."""
    for route in of_agents(control):
        for name, (body, query) in BAD.items():
            content = route.body(ids) if body is None else body
            path = f"{route.filled(ids).partition('?')[0]}?{query}" if query else route.filled(ids)
            answer = await client.call(route.method, path, content=content)
            if answer.status_code >= 400:
                yield route, name, answer


async def test_every_refusal_of_an_agent_has_a_code(
    control: Control, as_: As, listener: Agent, foreign: Agent
) -> None:
    ids = IDS | {"listener_id": listener.id}
    seen: set[Code] = set()
    for client in (await as_("nobody"), listener, foreign):
        async for route, name, answer in refusals(client, control, ids):
            code = code_of(answer)
            seen.add(code)
            if client is foreign and route.agents and name == "strange":
                assert code is Code.UNKNOWN_LISTENER, route
            if client is not listener and client is not foreign and route.agents:
                assert code is Code.AGENT_PORT, route
    expected = {Code.AGENT_PORT, Code.UNKNOWN_LISTENER, Code.JOINING, Code.NONCE, Code.NOT_YOURS}
    assert expected | {Code.MALFORMED, Code.INVALID} <= seen


async def test_what_is_no_refusal_of_its_own_has_the_code_of_its_status(listener: Agent) -> None:
    answer = await listener.call("GET", "/api/v2/no-such-route")
    assert (answer.status_code, code_of(answer)) == (404, Code.NOT_FOUND)
    answer = await listener.call("DELETE", f"{listener.at}/orders")
    assert (answer.status_code, code_of(answer)) == (405, Code.MALFORMED)
    body = b'"' + bytes(2 * 1024 * 1024) + b'"'
    answer = await listener.call("POST", f"{listener.at}/heartbeat", content=body)
    assert (answer.status_code, code_of(answer)) == (413, Code.TOO_LARGE)
    tool = "/api/v2/binary-cache/terraform/1.0.0/linux/amd64"
    answer = await listener.call("GET", tool)
    assert (answer.status_code, code_of(answer)) == (404, Code.NOT_FOUND)


async def test_what_agents_have_to_tell_apart_has_codes_of_its_own(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    answer = await listener.send(work, "state", factories.state(), "final=true")
    assert (answer.status_code, code_of(answer)) == (409, Code.WRONG_STATUS)
    answer = await listener.report(work, "planned", log_size=7)
    assert (answer.status_code, code_of(answer)) == (409, Code.LOG_SIZE)
    answer = await listener.report(work, "planned", log_size=0)
    assert (answer.status_code, code_of(answer)) == (409, Code.NO_PLAN_FILE)
    path = f"{listener.at}/phases/{work['phase_id']}/shared-workspace"
    answer = await listener.call("GET", f"{path}?fence={work['fence']}&name=another")
    assert (answer.status_code, code_of(answer)) == (403, Code.NOT_SHARED)


async def test_a_state_that_is_none_is_told_from_a_lost_lease(
    api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    answer = await listener.send(work, "state", b"no state", "final=true")
    assert (answer.status_code, code_of(answer)) == (422, Code.WRONG_STATE)


async def test_people_are_told_no_codes(api: Client) -> None:
    for path in ("/api/v2/runs/run-1111111111111111", "/api/v2/no-such-route"):
        [problem] = problems(await api.call("GET", path))
        assert "code" not in problem
