"""A fleet that joins at once: everybody gets an identity, and a token its exact number of uses."""

import anyio
import httpx
import pytest

from terrapod_agent.identity import new_key, request
from terrapod_control_plane.kernel import db
from tests.kit.control import Client

pytestmark = pytest.mark.anyio

_USES, _ASKING = 40, 50


async def test_a_token_is_good_for_as_many_as_it_has_uses(api: Client, pool: str) -> None:
    made = await api.post(
        f"/api/v2/agent-pools/{pool}/authentication-tokens",
        {
            "type": "authentication-tokens",
            "attributes": {"description": "fleet", "max-uses": _USES},
        },
    )
    token = made["data"]["attributes"]["token"]
    answers: list[httpx.Response] = []

    async def join(name: str, csr: str) -> None:
        asked = {"join_token": token, "name": name, "csr": csr}
        answers.append(await api.call("POST", "/api/v2/agent-pools/join", json=asked))

    names = [f"agent-{number}" for number in range(_ASKING)]
    requests = {name: request(new_key(), name) for name in names}
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for name, csr in requests.items():
                tasks.start_soon(join, name, csr)
    refused = [answer for answer in answers if not answer.is_success]
    joined = {answer.json()["listener_id"] for answer in answers if answer.is_success}
    assert len(joined) == _USES
    assert {answer.status_code for answer in refused} == {401}
    assert await db.value("select count(*) from listeners where pool_id = $1", pool) == _USES
