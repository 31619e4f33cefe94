"""States and configurations that come in the different ways of clients."""

import base64
import hashlib
from typing import Any

import anyio
import asyncpg
import pytest

from terrapod_control_plane.kernel import db
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client

pytestmark = pytest.mark.anyio


async def announced(api: Client, workspace: str, body: bytes, **given: Any) -> Any:
    attributes = {"serial": 1, "md5": hashlib.md5(body).hexdigest()} | given
    return await api.post(
        f"/api/v2/workspaces/{workspace}/state-versions",
        {"type": "state-versions", "attributes": attributes},
    )


async def test_a_state_in_the_document_is_final_at_once(api: Client, workspace: str) -> None:
    body = factories.state()
    inline = base64.b64encode(body).decode()
    made = await announced(api, workspace, body, state=inline)
    assert made["data"]["attributes"]["status"] == "finalized"
    current = await api.get(f"/api/v2/workspaces/{workspace}/current-state-version")
    assert current["data"]["id"] == made["data"]["id"]


async def test_a_state_that_was_cut_off_is_refused_and_not_current(
    api: Client, workspace: str
) -> None:
    body = factories.state()
    made = await announced(api, workspace, body)
    url = made["data"]["attributes"]["hosted-state-upload-url"]
    assert (await api.call("PUT", url, content=body[:-10])).status_code == 422
    current = f"/api/v2/workspaces/{workspace}/current-state-version"
    assert (await api.call("GET", current)).status_code == 404
    assert (await api.call("PUT", url, content=body)).status_code < 300
    assert (await api.call("GET", current)).status_code == 200


async def test_an_upload_does_not_revive_a_version_that_is_being_dropped(
    api: Client, workspace: str, dsn: str
) -> None:
    body = factories.state()
    made = await announced(api, workspace, body)
    url = made["data"]["attributes"]["hosted-state-upload-url"]
    answers: list[int] = []

    async def upload() -> None:
        answers.append((await api.call("PUT", url, content=body)).status_code)

    dropping = await asyncpg.connect(dsn)
    try:
        async with anyio.create_task_group() as tasks, dropping.transaction():
            await dropping.execute("update state_versions set status = 'discarded'")
            tasks.start_soon(upload)
            with anyio.fail_after(10):
                while not await db.value("select exists (select from pg_locks where not granted)"):
                    await anyio.lowlevel.checkpoint()
    finally:
        await dropping.close()
    assert answers == [409]
    current = await api.call("GET", f"/api/v2/workspaces/{workspace}/current-state-version")
    assert current.status_code == 404


@pytest.mark.parametrize(
    ("given", "runs"),
    [
        ({"auto-queue-runs": True}, [False]),
        ({"auto-queue-runs": True, "speculative": True}, [True]),
        ({"auto-queue-runs": True, "provisional": True}, []),
        ({"auto-queue-runs": False}, []),
    ],
    ids=["queued", "speculative", "provisional", "not asked for"],
)
async def test_an_upload_queues_the_run_that_it_asks_for(
    api: Client, given: dict[str, bool], runs: list[bool]
) -> None:
    workspace = await factories.workspace(api)
    await factories.configuration(api, workspace, **given)
    found = (await api.get(f"/api/v2/workspaces/{workspace}/runs"))["data"]
    assert [run["attributes"]["plan-only"] for run in found] == runs
    assert all(r["attributes"]["source"] == "tfe-configuration-version" for r in found)


async def test_the_json_of_a_plan_is_for_whoever_may_see_the_state(
    as_: As, api: Client, listener: Agent, workspace: str
) -> None:
    run = await api.get(f"/api/v2/runs/{await factories.run(api, workspace)}")
    await factories.plans(listener)
    path = f"/api/v2/plans/{run['data']['relationships']['plan']['data']['id']}/json-output"
    assert (await api.call("GET", path)).content == b"{}"
    assert (await (await as_("reader")).call("GET", path)).status_code == 403
    assert (await (await as_("stranger")).call("GET", path)).status_code == 404
