"""Pools that go: nothing that names one or waits for it goes anywhere unsaid."""

from collections.abc import Awaitable
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from terrapod_control_plane.kernel import db
from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio


async def delete(api: Client, pool: str, move_to: str = "") -> httpx.Response:
    query = f"?move-to={move_to}" if move_to else ""
    return await api.call("DELETE", f"/api/v2/agent-pools/{pool}{query}")


async def default(api: Client) -> str | None:
    found = await api.get("/api/v2/organizations/default")
    data = found["data"]["relationships"]["default-agent-pool"]["data"]
    return data["id"] if data else None


async def pool_of(api: Client, workspace: str) -> str | None:
    found = await api.get(f"/api/v2/workspaces/{workspace}")
    data = found["data"]["relationships"]["agent-pool"]["data"]
    return data["id"] if data else None


async def named(api: Client, name: str, pool: str) -> str:
    """A workspace that names a pool, with a configuration."""
    given: dict[str, Any] = {"agent-pool-id": pool, "execution-mode": "agent"}
    made = await factories.workspace(api, name, **given)
    await factories.configuration(api, made)
    return made


def told(answer: httpx.Response) -> str:
    assert answer.status_code == 409, answer.text
    detail: str = answer.json()["errors"][0]["detail"]
    return detail


async def test_a_pool_that_workspaces_name_is_not_deleted(api: Client, pool: str) -> None:
    """They would go to the default pool, with their secrets."""
    other = await factories.pool(api, "other")
    workspaces = [await named(api, f"app-{n:02}", other) for n in range(22)]
    detail = told(await delete(api, other))
    assert "app-00, app-01" in detail
    assert detail.count("app-") == 20
    assert "and 2 more" in detail
    assert {await pool_of(api, one) for one in workspaces} == {other}
    assert await default(api) == pool


async def test_its_workspaces_go_where_they_are_told(
    control: Control, api: Client, pool: str
) -> None:
    old, new = await factories.pool(api, "old"), await factories.pool(api, "new")
    workspace = await named(api, "app", old)
    waiting = await factories.run(api, workspace)
    behind = await factories.run(api, workspace)
    agent = await control.join(api, new, "agent")
    assert await agent.claim("k") is None
    assert (await delete(api, old, new)).status_code == 204
    assert (await pool_of(api, workspace), await default(api)) == (new, pool)
    work = await agent.claim("l")
    assert work is not None
    assert work["run_id"] == waiting
    assert (await agent.report(work, "planning")).status_code == 200
    await factories.ends_plan(agent, work, has_changes=False)
    work = await agent.claim("m")
    assert work is not None
    assert work["run_id"] == behind
    assert (await api.call("GET", f"/api/v2/agent-pools/{old}")).status_code == 404


@pytest.mark.parametrize("target", ["apool-1111111111111111", "nonsense"])
async def test_they_go_nowhere_that_is_not_there(api: Client, pool: str, target: str) -> None:
    other = await factories.pool(api, "other")
    workspace = await named(api, "app", other)
    assert (await delete(api, other, target)).status_code == 404
    assert (await delete(api, other, other)).status_code == 422
    assert await pool_of(api, workspace) == other


async def test_only_administrators_move_anything(as_: As, api: Client, pool: str) -> None:
    other = await factories.pool(api, "other")
    for who in ("stranger", "reader", "owner"):
        assert (await delete(await as_(who), pool, other)).status_code == 403


async def test_what_an_agent_of_it_has_keeps_a_pool(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    other = await factories.pool(api, "other")
    await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    assert "carry out runs" in told(await delete(api, pool, other))
    await factories.ends_plan(listener, work)
    assert (await delete(api, pool, other)).status_code == 204
    await api.post(f"/api/v2/runs/{work['run_id']}/actions/apply")
    successor = await control.join(api, other, "first")
    assert (await successor.claim("k") or {})["kind"] == "apply"


async def test_what_an_agent_has_of_a_workspace_that_left_its_pool_keeps_it_too(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    other, third = await factories.pool(api, "other"), await factories.pool(api, "third")
    await factories.run(api, workspace)
    await factories.starts_plan(listener)
    await moved(api, workspace, other)
    assert "carry out runs" in told(await delete(api, pool, third))


async def give(api: Client, workspace: str, pool: str | None) -> httpx.Response:
    """Sets the pool of a workspace."""
    attributes = {"agent-pool-id": pool, "execution-mode": "agent" if pool else "remote"}
    body = {"data": {"type": "workspaces", "attributes": attributes}}
    return await api.call("PATCH", f"/api/v2/workspaces/{workspace}", json=body)


async def moved(api: Client, workspace: str, pool: str | None) -> None:
    """The workspace with another pool."""
    answer = await give(api, workspace, pool)
    assert answer.status_code == 200, answer.text


async def test_runs_that_wait_move_with_their_workspace(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    other = await factories.pool(api, "other")
    agent = await control.join(api, other, "other")
    await factories.run(api, workspace)
    await moved(api, workspace, other)
    assert await listener.claim("k") is None
    work = await factories.starts_plan(agent)
    await moved(api, workspace, None)  # back to the default
    await factories.ends_plan(agent, work)
    await api.post(f"/api/v2/runs/{work['run_id']}/actions/apply")
    assert await agent.claim("l") is None
    assert (await listener.claim("l") or {})["kind"] == "apply"


# --- the default ----------------------------------------------------------------------------------


async def test_the_only_other_pool_becomes_the_default(
    control: Control, api: Client, listener: Agent, pool: str, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    other = await factories.pool(api, "other")
    assert (await delete(api, pool)).status_code == 204
    assert await default(api) == other
    agent = await control.join(api, other, "other")
    assert (await agent.claim("k") or {})["run_id"] == run


async def test_which_of_several_becomes_the_default_is_said(api: Client, pool: str) -> None:
    first, second = await factories.pool(api, "first"), await factories.pool(api, "second")
    assert "default pool" in told(await delete(api, pool))
    assert (await delete(api, pool, second)).status_code == 204
    assert await default(api) == second
    assert (await delete(api, first)).status_code == 204
    assert await default(api) == second


async def test_the_last_pool_goes_when_nothing_waits_for_it(
    api: Client, pool: str, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    assert "Runs still wait" in told(await delete(api, pool))
    await api.post(f"/api/v2/runs/{run}/actions/cancel")
    assert (await delete(api, pool)).status_code == 204
    assert await default(api) is None
    waiting = await factories.run(api, workspace)
    shown = (await api.get(f"/api/v2/runs/{waiting}"))["data"]["attributes"]
    assert "create one" in shown["waiting-on"]
    assert await default(api) is None
    fresh = await factories.pool(api, "fresh")
    assert await default(api) == fresh


# --- at the same time -----------------------------------------------------------------------------


async def test_no_run_is_left_behind_that_is_made_while_its_pool_goes(
    api: Client, pool: str, workspace: str
) -> None:
    """Whoever is first: afterwards each open run counts on a pool that is there."""
    spaces = [await factories.workspace(api, f"app-{n}") for n in range(4)]
    for one in spaces:
        await factories.configuration(api, one)
    for number in range(6):
        heir = await factories.pool(api, f"heir-{number}")
        async with anyio.create_task_group() as tasks:
            for one in spaces:
                tasks.start_soon(partial(factories.run, api, one, **{"plan-only": True}))
            tasks.start_soon(delete, api, await default(api) or "", heir)
        lost = await db.rows(
            "select id from runs where pool_id is null "
            "or not exists (select from agent_pools p where p.id = pool_id)"
        )
        assert lost == []


async def test_no_run_is_left_behind_that_is_made_while_the_first_pool_is(
    api: Client, workspace: str
) -> None:
    """Nor does one wait for the other: run and pool lock in one order."""
    spaces = [await factories.workspace(api, f"app-{n}") for n in range(4)]
    for one in spaces:
        await factories.configuration(api, one)
    for number in range(6):
        before = [await factories.run(api, one, **{"plan-only": True}) for one in spaces]
        async with anyio.create_task_group() as tasks:
            for one in spaces:
                tasks.start_soon(partial(factories.run, api, one, **{"plan-only": True}))
            tasks.start_soon(factories.pool, api, f"first-{number}")
        pool = await default(api)
        waits = await db.rows("select distinct pool_id from runs where status = 'plan_queued'")
        assert [row["pool_id"] for row in waits] == [pool]
        phases = await db.rows("select distinct pool_id from phases where status = 'queued'")
        assert [row["pool_id"] for row in phases] == [pool]
        open_ = await db.rows("select id from runs where status = 'plan_queued'")
        assert set(before) < {row["id"] for row in open_}
        for row in open_:
            await api.post(f"/api/v2/runs/{row['id']}/actions/cancel")
        assert (await delete(api, pool or "")).status_code == 204


async def test_no_workspace_is_given_a_pool_that_goes(api: Client, pool: str) -> None:
    workspace = await factories.workspace(api)
    for number in range(8):
        other = await factories.pool(api, f"other-{number}")
        statuses: list[int] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_status, statuses, give(api, workspace, other))
            tasks.start_soon(_status, statuses, delete(api, other))
        assert sorted(statuses) in ([200, 409], [204, 422])


async def _status(statuses: list[int], asked: Awaitable[httpx.Response]) -> None:
    statuses.append((await asked).status_code)
