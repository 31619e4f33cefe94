"""How an agent gets its identity, keeps it, and loses it."""

from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from terrapod_agent.identity import certificate_request, new_key
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

JOIN = "/api/v2/agent-pools/join"


async def token(api: Client, pool: str, **given: Any) -> dict[str, Any]:
    """A join token: its id and its text."""
    attributes = {"description": "for a test"} | given
    made = await api.post(
        f"/api/v2/agent-pools/{pool}/authentication-tokens",
        {"type": "authentication-tokens", "attributes": attributes},
    )
    return {"id": made["data"]["id"], "text": made["data"]["attributes"]["token"]}


def asked(text: str, name: str = "agent", **given: Any) -> dict[str, Any]:
    return {"join_token": text, "name": name, "csr": certificate_request(new_key(), name)} | given


async def test_a_token_is_good_for_as_often_as_it_says(api: Client, pool: str) -> None:
    made = await token(api, pool, **{"max-uses": 2})
    statuses = [
        (await api.call("POST", JOIN, json=asked(made["text"], f"agent-{n}"))).status_code
        for n in range(3)
    ]
    assert statuses == [201, 201, 401]


async def test_a_token_ends(control: Control, api: Client, pool: str) -> None:
    made = await token(api, pool)
    control.clock.move(31 * 24 * 3600)
    assert (await api.call("POST", JOIN, json=asked(made["text"]))).status_code == 401


async def test_a_token_that_was_revoked_is_of_no_use(api: Client, pool: str) -> None:
    made = await token(api, pool)
    path = f"/api/v2/authentication-tokens/{made['id']}"
    assert (await api.call("DELETE", path)).status_code == 204
    assert (await api.call("POST", JOIN, json=asked(made["text"]))).status_code == 401


async def test_a_token_of_one_pool_does_not_open_another(api: Client, pool: str) -> None:
    other = await factories.pool(api, "other")
    made = await token(api, pool)
    path = f"/api/v2/agent-pools/{other}/listeners/join"
    assert (await api.call("POST", path, json=asked(made["text"]))).status_code == 401


async def test_an_api_token_is_no_join_token_and_the_other_way_round(
    control: Control, api: Client, pool: str
) -> None:
    text = api.http.headers["authorization"].removeprefix("Bearer ")
    assert (await api.call("POST", JOIN, json=asked(text))).status_code == 401
    joiner = await control.client((await token(api, pool))["text"])
    assert (await joiner.call("GET", "/api/v2/account/details")).status_code == 401


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"csr": "nonsense"}, 422),
        ({"csr": ""}, 422),
        ({"name": ""}, 422),
        ({"name": "../x"}, 422),
        ({"name": "a\0b"}, 422),
        ({"name": 3}, 422),
        ({"join_token": ""}, 401),
        ({"join_token": "\0"}, 401),
    ],
)
async def test_a_bad_request_uses_nothing_up(
    api: Client, pool: str, given: dict[str, Any], status: int
) -> None:
    made = await token(api, pool, **{"max-uses": 1})
    answer = await api.call("POST", JOIN, json=asked(made["text"]) | given)
    assert answer.status_code == status, answer.text
    assert (await api.call("POST", JOIN, json=asked(made["text"]))).status_code == 201


async def test_a_name_of_another_pool_is_another_agent(
    control: Control, api: Client, listener: Agent
) -> None:
    other = await control.join(api, await factories.pool(api, "other"), "first")
    assert other.id != listener.id
    assert (await listener.beat())["lost"] == []


async def test_renewal_on_the_public_port_needs_the_recorded_key(
    control: Control, api: Client, pool: str
) -> None:
    key = new_key()
    made = await token(api, pool)
    csr = certificate_request(key, "agent")
    body = {"join_token": made["text"], "name": "agent", "csr": csr}
    joined = (await api.call("POST", JOIN, json=body)).json()
    at = f"/api/v2/listeners/{joined['listener_id']}"

    async def renew(signing: str, nonce: str) -> int:
        private = serialization.load_pem_private_key(signing.encode(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        signed = private.sign(f"{nonce}\n{csr}".encode(), ec.ECDSA(hashes.SHA256()))
        signature = b64encode(signed).decode()
        said = {"csr": csr, "nonce": nonce, "signature": signature}
        return (await api.call("POST", f"{at}/renew", json=said)).status_code

    async def nonce() -> str:
        text: str = (await api.call("POST", f"{at}/nonce")).json()["nonce"]
        return text

    assert await renew(key, "made-up") == 401
    assert await renew(new_key(), await nonce()) == 401
    once = await nonce()
    assert await renew(key, once) == 200
    assert await renew(key, once) == 401
    control.clock.move(40 * 24 * 3600)
    assert await renew(key, await nonce()) == 403


async def test_an_agent_whose_pool_is_deleted_is_out(
    api: Client, listener: Agent, pool: str
) -> None:
    answer = await api.call("DELETE", f"/api/v2/agent-pools/{pool}")
    assert answer.status_code == 204, answer.text
    assert (await listener.call("POST", f"{listener.at}/heartbeat", json={})).status_code == 401


async def test_a_certificate_that_has_ended_is_of_no_use(control: Control, listener: Agent) -> None:
    control.clock.move(25 * 3600)
    assert (await listener.call("POST", f"{listener.at}/heartbeat", json={})).status_code == 401
