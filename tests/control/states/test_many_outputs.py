"""States with very many outputs: nobody waits for them, and no more is read than is asked for."""

import hashlib
import json
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from terrapod_control_plane.kernel import db, ids
from terrapod_control_plane.kernel.context import Context, system
from terrapod_control_plane.kernel.crypto.keys import KeyRing
from terrapod_control_plane.kernel.pages import Paging
from terrapod_control_plane.states import jobs as states_jobs
from terrapod_control_plane.states.outputs import service as outputs_service
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio

MANY = 5000


def state(count: int, serial: int = 1, **extra: Any) -> bytes:
    """A state with so many outputs, every third of them sensitive."""
    made = {
        f"o{n:06}": {"value": f"value {n}", "type": "string", "sensitive": n % 3 == 0}
        for n in range(count)
    }
    return json.dumps(factories.STATE | {"serial": serial, "outputs": made} | extra).encode()


async def pushed(api: Client, workspace: str, body: bytes, serial: int = 1) -> str:
    """The id of a version whose content a person has uploaded."""
    attributes = {"serial": serial, "md5": hashlib.md5(body).hexdigest()}
    made = await api.post(
        f"/api/v2/workspaces/{workspace}/state-versions",
        {"type": "state-versions", "attributes": attributes},
    )
    sent = await api.call(
        "PUT", made["data"]["attributes"]["hosted-state-upload-url"], content=body
    )
    assert sent.status_code == 204, sent.text
    id_: str = made["data"]["id"]
    return id_


class Counting(KeyRing):
    """A key ring that knows how often it was asked to open something."""

    opened = 0

    def open(self, sealed: bytes, context: str) -> bytes:
        self.opened += 1
        return super().open(sealed, context)


@pytest.fixture
def counting(control: Control) -> tuple[Context, Counting]:
    """The server's own context, and what counts what it opens."""
    ring = Counting.parse(control.services.ring.export())
    return system(replace(control.services, ring=ring)), ring


async def test_a_page_opens_what_it_shows(
    api: Client, workspace: str, counting: tuple[Context, Counting]
) -> None:
    version = await pushed(api, workspace, state(MANY))
    ctx, ring = counting
    for number, size in ((1, 20), (37, 100), (50, 100), (51, 100)):
        ring.opened = 0
        page = await outputs_service.outputs(ctx, version, Paging(number, size))
        first = (number - 1) * size
        expected = [f"o{n:06}" for n in range(first, min(first + size, MANY))]
        assert [one.name for one in page.items] == expected
        assert page.total == MANY
        assert ring.opened <= 2
    ring.opened = 0
    found = await outputs_service.output(ctx, ids.part("wsout", version, 4321))
    assert (found.name, ring.opened) == ("o004321", 1)


async def test_all_of_them_are_read_a_few_at_a_time(
    api: Client, workspace: str, counting: tuple[Context, Counting]
) -> None:
    await pushed(api, workspace, state(MANY))
    ctx, ring = counting
    found = await outputs_service.current_outputs(ctx, workspace)
    names: list[str] = []
    async for some in found:
        assert ring.opened <= 1
        ring.opened = 0
        names += [one.name for one in some]
    assert names == [f"o{n:06}" for n in range(MANY)]


async def test_present_outputs_are_one_document(as_: As, api: Client, workspace: str) -> None:
    path = f"/api/v2/workspaces/{workspace}/current-state-version-outputs"
    assert await api.get(path) == {"data": []}
    await pushed(api, workspace, state(250))
    answer = await api.call("GET", path, headers={"accept": "application/vnd.api+json"})
    assert answer.headers["content-type"].startswith("application/vnd.api+json")
    found = answer.json()["data"]
    assert [one["attributes"]["name"] for one in found] == [f"o{n:06}" for n in range(250)]
    values = [one["attributes"]["value"] for one in found]
    assert values == [None if n % 3 == 0 else f"value {n}" for n in range(250)]
    stranger = await (await as_("stranger")).call("GET", path)
    assert stranger.status_code == 404


async def test_what_a_version_includes_has_a_bound(api: Client, workspace: str) -> None:
    version = await pushed(api, workspace, state(MANY))
    path = f"/api/v2/workspaces/{workspace}/current-state-version?include=outputs"
    found = await api.get(path)
    linked = [one["id"] for one in found["data"]["relationships"]["outputs"]["data"]]
    assert [one["id"] for one in found["included"]] == linked
    assert (len(linked), found["data"]["attributes"]["output-count"]) == (1000, MANY)
    listed = await api.get(f"/api/v2/workspaces/{workspace}/state-versions?include=outputs")
    assert len(listed["data"][0]["relationships"]["outputs"]["data"]) == 100
    last = await api.get(f"/api/v2/state-versions/{version}/outputs?page[size]=20&page[number]=250")
    assert [one["attributes"]["name"] for one in last["data"]][-1] == f"o{MANY - 1:06}"


@pytest.mark.parametrize("beyond", [250, 58**4 - 1])
async def test_there_is_no_output_beyond_the_last(
    as_: As, api: Client, workspace: str, beyond: int
) -> None:
    version = await pushed(api, workspace, state(250))
    last = await api.get(f"/api/v2/state-version-outputs/{ids.part('wsout', version, 249)}")
    assert last["data"]["attributes"]["name"] == "o000249"
    at = f"/api/v2/state-version-outputs/{ids.part('wsout', version, beyond)}"
    for who in ("admin", "stranger"):
        assert (await (await as_(who)).call("GET", at)).status_code == 404


async def test_resources_of_a_large_state_are_not_loaded_with_lists(
    api: Client, workspace: str
) -> None:
    resource = {"type": "t", "provider": "p", "instances": [{}, {}]}
    large = [resource | {"name": f"r{n}{'x' * 20}"} for n in range(1500)]
    small = await pushed(api, workspace, state(1, resources=large[:2]))
    big = await pushed(api, workspace, state(1, 2, resources=large), 2)
    listed = (await api.get(f"/api/v2/workspaces/{workspace}/state-versions"))["data"]
    facts = {
        one["id"]: [
            len(one["attributes"]["resources"]),
            one["attributes"]["resources-processed"],
            one["attributes"]["resource-count"],
        ]
        for one in listed
    }
    assert facts == {small: [2, True, 4], big: [0, False, 3000]}
    shown = (await api.get(f"/api/v2/state-versions/{big}"))["data"]["attributes"]
    assert (len(shown["resources"]), shown["resources-processed"]) == (1000, True)


# --- what is stored -------------------------------------------------------------------------------


async def kept() -> int:
    """How many rows there are of what contents say of themselves."""
    found: int = await db.value("select count(*) from state_excerpts")
    return found


async def test_outputs_are_stored_before_anybody_may_wait_for_it(
    api: Client, workspace: str
) -> None:
    """While another has the workspace's lock all is written but the row that makes it count."""
    locked, done = anyio.Event(), anyio.Event()

    async def hold() -> None:
        async with db.transaction():
            await db.execute("select from workspaces where id = $1 for update", workspace)
            locked.set()
            await done.wait()

    body = state(MANY)
    attributes = {"serial": 1, "md5": hashlib.md5(body).hexdigest()}
    made = await api.post(
        f"/api/v2/workspaces/{workspace}/state-versions",
        {"type": "state-versions", "attributes": attributes},
    )
    url = made["data"]["attributes"]["hosted-state-upload-url"]
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            await locked.wait()
            tasks.start_soon(partial(api.call, "PUT", url, content=body))
            while await kept() < MANY // 100:
                await anyio.lowlevel.checkpoint()
            path = f"/api/v2/state-versions/{made['data']['id']}"
            assert (await api.get(path))["data"]["attributes"]["status"] == "pending"
            done.set()
    assert (await api.get(path))["data"]["attributes"]["status"] == "finalized"


async def test_excerpts_go_with_their_version(api: Client, listener: Agent, workspace: str) -> None:
    await pushed(api, workspace, state(MANY))
    assert await kept() == MANY // 100
    assert (await api.call("DELETE", f"/api/v2/workspaces/{workspace}")).status_code == 204
    assert await kept() == 0


async def test_nothing_stays_of_a_state_that_was_refused(
    api: Client, listener: Agent, workspace: str
) -> None:
    await pushed(api, workspace, state(10))
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    before = await kept()
    foreign = state(MANY, 2, lineage="another")
    assert (await listener.send(work, "state", foreign, "final=true")).status_code == 422
    assert await kept() == before


async def test_the_same_state_again_is_kept_once(
    api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(listener)
    work = await factories.starts_apply(listener)
    for final in ("false", "false", "true"):
        sent = await listener.send(work, "state", state(250), f"final={final}")
        assert sent.status_code == 200
        assert await kept() == 3


async def test_nothing_stays_of_a_version_that_was_given_up(
    control: Control, api: Client, workspace: str
) -> None:
    """A content that came and was refused, for the workspace was locked by then."""
    body = state(250)
    attributes = {"serial": 1, "md5": hashlib.md5(body).hexdigest()}
    made = await api.post(
        f"/api/v2/workspaces/{workspace}/state-versions",
        {"type": "state-versions", "attributes": attributes},
    )
    await db.execute("update workspaces set held_by_run_id = 'run-1' where id = $1", workspace)
    url = made["data"]["attributes"]["hosted-state-upload-url"]
    assert (await api.call("PUT", url, content=body)).status_code == 409
    control.clock.move(7201)
    for job in states_jobs.jobs(control.services.settings):
        await job.run(system(control.services))
    assert await kept() == 0


async def test_a_version_from_before_there_were_excerpts_gets_them(
    api: Client, workspace: str
) -> None:
    """As the migration leaves one: its content is all that is known of it."""
    resource = {"name": "r", "type": "t", "provider": "p", "instances": [{}]}
    version = await pushed(api, workspace, state(250, resources=[resource]))
    await db.execute("delete from state_excerpts")
    await db.execute("update state_versions set output_count = null")
    page = await api.get(f"/api/v2/state-versions/{version}/outputs?page[size]=1")
    assert page["meta"]["pagination"]["total-count"] == 250
    shown = (await api.get(f"/api/v2/state-versions/{version}"))["data"]
    assert len(shown["relationships"]["outputs"]["data"]) == 250
    assert [one["name"] for one in shown["attributes"]["resources"]] == ["r"]
