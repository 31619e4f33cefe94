"""Locks of people over HTTP, and that no run takes one away."""

from typing import Any

import httpx
import pytest

from tests.control.conftest import As
from tests.kit import factories
from tests.kit.control import Agent, Client, Control, problems

pytestmark = pytest.mark.anyio


async def act(client: Client, workspace: str, action: str, body: Any = None) -> httpx.Response:
    path = f"/api/v2/workspaces/{workspace}/actions/{action}"
    return await client.call("POST", path, json={} if body is None else body)


async def holder(client: Client, workspace: str) -> str | None:
    """The kind and the id of whoever has the lock."""
    shown = (await client.get(f"/api/v2/workspaces/{workspace}"))["data"]
    by = shown["relationships"]["locked-by"]["data"]
    assert shown["attributes"]["locked"] is (by is not None)
    return None if by is None else f"{by['type']} {by['id']}"


@pytest.fixture
async def me(api: Client) -> str:
    """How the administrator is named as a holder."""
    return f"users {(await api.get('/api/v2/account/details'))['data']['id']}"


@pytest.fixture
async def shared(as_: As) -> str:
    """A workspace of its owner, which an administrator may use too."""
    return await factories.workspace(await as_("owner"), "shared")


@pytest.mark.parametrize("body", [{"reason": "mine"}, {"data": {"type": ""}}, {}], ids=str)
async def test_a_lock_is_ones_own_until_it_is_given_back(
    api: Client, workspace: str, me: str, body: Any
) -> None:
    locked = await act(api, workspace, "lock", body)
    assert locked.status_code == 200, locked.text
    shown = locked.json()["data"]["attributes"]
    assert (shown["locked"], shown["lock-reason"]) == (True, body.get("reason", ""))
    assert await holder(api, workspace) == me
    unlocked = await act(api, workspace, "unlock")
    assert (unlocked.status_code, unlocked.json()["data"]["id"]) == (200, workspace)
    assert await holder(api, workspace) is None


async def test_a_lock_is_taken_once(as_: As, api: Client, shared: str, me: str) -> None:
    await act(api, shared, "lock")
    for client in (api, await as_("owner")):
        assert (await act(client, shared, "lock")).status_code == 409
    assert await holder(api, shared) == me


async def test_anothers_lock_is_not_given_back(as_: As, api: Client, shared: str, me: str) -> None:
    owner = await as_("owner")
    await act(api, shared, "lock")
    refused = await act(owner, shared, "unlock")
    assert refused.status_code == 409
    assert "is locked by User" in problems(refused)[0]["detail"]
    assert await holder(owner, shared) == me


async def test_anothers_lock_is_taken_away_by_force(as_: As, api: Client, shared: str) -> None:
    await act(api, shared, "lock")
    forced = await act(await as_("owner"), shared, "force-unlock")
    assert forced.status_code == 200, forced.text
    assert await holder(api, shared) is None
    assert (await act(await as_("owner"), shared, "lock")).status_code == 200


@pytest.mark.parametrize("action", ["unlock", "force-unlock"])
async def test_what_is_not_locked_is_not_unlocked(api: Client, workspace: str, action: str) -> None:
    refused = await act(api, workspace, action)
    assert refused.status_code == 409
    assert "is not locked" in problems(refused)[0]["detail"]


@pytest.mark.parametrize(("name", "status"), [("reader", 403), ("stranger", 404), ("nobody", 401)])
async def test_who_may_not_work_here_locks_nothing(
    as_: As, api: Client, workspace: str, me: str, name: str, status: int
) -> None:
    client = await as_(name)
    assert (await act(client, workspace, "lock")).status_code == status
    assert await holder(api, workspace) is None
    await act(api, workspace, "lock")
    for action in ("unlock", "force-unlock"):
        assert (await act(client, workspace, action)).status_code == status
    assert await holder(api, workspace) == me


async def test_what_a_run_holds_nobody_takes(api: Client, pool: str, workspace: str) -> None:
    run = await factories.run(api, workspace)
    for action in ("lock", "unlock", "force-unlock", "safe-delete"):
        refused = await act(api, workspace, action)
        assert refused.status_code == 409, refused.text
        if "unlock" in action:
            assert f"is locked by Run {run}" in problems(refused)[0]["detail"]
        if action == "safe-delete":
            assert "being processed" in problems(refused)[0]["detail"]
    assert await holder(api, workspace) == f"runs {run}"


async def test_what_a_person_holds_is_not_safe_to_delete(api: Client, workspace: str) -> None:
    await act(api, workspace, "lock")
    refused = await act(api, workspace, "safe-delete")
    assert refused.status_code == 409
    assert "locked" in problems(refused)[0]["detail"]
    assert (await api.call("DELETE", f"/api/v2/workspaces/{workspace}")).status_code == 204


@pytest.mark.parametrize("kind", ["plan-only", "save-plan"])
@pytest.mark.parametrize("end", ["planned", "errored", "canceled"])
async def test_a_run_beside_a_lock_leaves_it_at_its_end(
    control: Control, api: Client, listener: Agent, workspace: str, me: str, kind: str, end: str
) -> None:
    run = await factories.run(api, workspace, **{kind: True})
    await act(api, workspace, "lock")
    if end == "planned":
        await factories.plans(listener)
    else:
        work = await listener.claim("k")
        assert work is not None
        assert (await listener.report(work, "planning")).status_code == 200
        await api.post(f"/api/v2/runs/{run}/actions/cancel")
        assert (await listener.report(work, end)).status_code == 200
    assert (await control.status(run)).startswith(end)
    await control.sweep()
    assert await holder(api, workspace) == me


@pytest.mark.parametrize("action", ["cancel", "discard"])
async def test_a_run_that_never_had_its_turn_leaves_the_lock(
    control: Control, api: Client, listener: Agent, workspace: str, me: str, action: str
) -> None:
    await act(api, workspace, "lock")
    run = await factories.run(api, workspace)
    await control.sweep()
    assert await control.status(run) == "pending"
    await api.post(f"/api/v2/runs/{run}/actions/{action}")
    assert await control.status(run) == f"{action}ed"
    assert await holder(api, workspace) == me


async def test_a_late_word_on_an_ended_run_leaves_the_lock(
    control: Control, api: Client, listener: Agent, workspace: str, me: str
) -> None:
    run = await factories.run(api, workspace)
    await factories.plans(listener)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    work = await factories.applies(listener)
    assert await holder(api, workspace) is None
    await act(api, workspace, "lock")
    assert (await listener.report(work, "applied")).status_code == 200
    assert (await listener.report(work, "errored")).status_code == 409
    await control.sweep()
    assert await holder(api, workspace) == me
