"""A fleet that joins at once: everybody gets an identity, and a token its exact number of uses."""

import anyio
import httpx
import pytest

from terrapod_agent.identity import certificate_request, new_key
from terrapod_control_plane.kernel import db
from tests.kit.control import Client

pytestmark = pytest.mark.anyio

_USES, _ASKING = 40, 50
_FLEET = 200


class Fleet:
    """Agents that come with one token, which is good for so many of them."""

    def __init__(self, api: Client, pool: str) -> None:
        self.api = api
        self.pool = pool
        self.token = ""
        self.answers: list[httpx.Response] = []

    async def may_be(self, uses: int) -> None:
        given = {"description": "fleet", "max-uses": uses}
        path = f"/api/v2/agent-pools/{self.pool}/authentication-tokens"
        made = await self.api.post(path, {"type": "authentication-tokens", "attributes": given})
        self.token = made["data"]["attributes"]["token"]

    async def joins(self, name: str, csr: str) -> httpx.Response:
        asked = {"join_token": self.token, "name": name, "csr": csr}
        answer = await self.api.call("POST", "/api/v2/agent-pools/join", json=asked)
        self.answers.append(answer)
        return answer

    async def join_at_once(self, count: int) -> None:
        names = [f"agent-{number}" for number in range(count)]
        requests = {name: certificate_request(new_key(), name) for name in names}
        with anyio.fail_after(50):
            async with anyio.create_task_group() as tasks:
                for name, csr in requests.items():
                    tasks.start_soon(self.joins, name, csr)

    @property
    def joined(self) -> set[str]:
        return {answer.json()["listener_id"] for answer in self.answers if answer.is_success}

    @property
    def refused(self) -> list[int]:
        return [answer.status_code for answer in self.answers if not answer.is_success]


@pytest.fixture
def fleet(api: Client, pool: str) -> Fleet:
    return Fleet(api, pool)


async def listeners(pool: str) -> int:
    found: int = await db.value("select count(*) from listeners where pool_id = $1", pool)
    return found


async def test_a_token_is_good_for_as_many_as_it_has_uses(fleet: Fleet) -> None:
    await fleet.may_be(_USES)
    await fleet.join_at_once(_ASKING)
    assert len(fleet.joined) == await listeners(fleet.pool) == _USES
    assert fleet.refused == [401] * (_ASKING - _USES)


async def test_two_hundred_join_at_once_and_the_next_one_is_refused(fleet: Fleet) -> None:
    await fleet.may_be(_FLEET)
    await fleet.join_at_once(_FLEET)
    assert fleet.refused == []
    assert len(fleet.joined) == await listeners(fleet.pool) == _FLEET
    late = await fleet.joins("late", certificate_request(new_key(), "late"))
    assert late.status_code == 401
    assert await listeners(fleet.pool) == _FLEET
