"""API tokens that count no more, and what the log says of who was refused."""

from datetime import timedelta

import pytest
import structlog

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.clock import text
from tests.kit.control import Client, Control, problems
from tests.kit.hearing import all_heard

pytestmark = pytest.mark.anyio

ME = "/api/v2/account/details"


async def made(control: Control, api: Client, **given: str) -> tuple[str, Client]:
    user = (await api.get(ME))["data"]["id"]
    answer = await api.post(
        f"/api/v2/users/{user}/authentication-tokens",
        {"type": "authentication-tokens", "attributes": {"description": "test"} | given},
    )
    token = answer["data"]["attributes"]["token"]
    return answer["data"]["id"], await control.client(token)


async def test_a_token_ends_when_it_says(control: Control, api: Client) -> None:
    ends = text(control.clock.now() + timedelta(hours=1))
    _, client = await made(control, api, **{"expired-at": ends})
    assert (await client.call("GET", ME)).status_code == 200
    control.clock.move(3601)
    assert (await client.call("GET", ME)).status_code == 401


async def test_a_token_may_not_have_ended_already(control: Control, api: Client) -> None:
    user = (await api.get(ME))["data"]["id"]
    attributes = {"expired-at": text(control.clock.now() - timedelta(seconds=1))}
    body = {"data": {"type": "authentication-tokens", "attributes": attributes}}
    path = f"/api/v2/users/{user}/authentication-tokens"
    assert (await api.call("POST", path, json=body)).status_code == 422


async def test_a_revoked_token_is_out_at_once(control: Control, api: Client) -> None:
    id_, client = await made(control, api)
    assert (await api.call("DELETE", f"/api/v2/authentication-tokens/{id_}")).status_code == 204
    assert (await client.call("GET", ME)).status_code == 401


async def test_a_token_is_worth_what_its_user_is(control: Control, api: Client) -> None:
    _, client = await made(control, api)
    await db.execute("update users set is_active = false")
    await all_heard(control.services.bus)
    assert (await client.call("GET", ME)).status_code == 401


async def test_a_refusal_is_one_line_that_names_the_route_and_no_token(
    control: Control, api: Client
) -> None:
    with structlog.testing.capture_logs() as lines:
        answer = await api.call("GET", "/api/v2/logs/a-token-in-the-path")
        assert problems(answer)
    told = [line for line in lines if line["event"] == "request"]
    assert [(line["route"], line["status"]) for line in told] == [("/api/v2/logs/{token}", 404)]
    assert "a-token-in-the-path" not in str(lines)
