"""An apply goes where its plan was made, and counts what its plan has counted."""

import pytest

from tests.kit import factories
from tests.kit.control import Agent, Client, Control

pytestmark = pytest.mark.anyio


async def waits_for(control: Control, api: Client, pool: str, run: str) -> str:
    # What is known of a pool is looked up once a second.
    await control.services.ephemeral.take(f"pool-seen:{pool}")
    found = await api.get(f"/api/v2/runs/{run}")
    said: str = found["data"]["attributes"]["waiting-on"]
    return said


async def apply_queued(api: Client, planner: Agent, workspace: str) -> str:
    run = await factories.run(api, workspace)
    await factories.plans(planner)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    return run


async def test_an_apply_is_only_for_agents_with_the_folder_of_its_plan(
    control: Control, api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    listener.root, foreign.root = "/var/lib/terrapod/runs", "/home/ci/runs"
    run = await apply_queued(api, listener, workspace)
    assert await foreign.claim("other") is None
    await foreign.beat()
    assert (await waits_for(control, api, listener.pool, run)).startswith(
        "no agent of the pool pool that is online and takes work has its runs in "
        "/var/lib/terrapod/runs, where"
    )
    await listener.beat()
    assert "to take it" in await waits_for(control, api, listener.pool, run)
    work = await listener.claim("same")
    assert work is not None
    assert (work["run_id"], work["kind"]) == (run, "apply")


@pytest.mark.parametrize(("planned", "applied"), [("", "/runs"), ("/runs", ""), ("", "")])
async def test_agents_that_say_no_folder_take_and_give_any(
    control: Control,
    api: Client,
    listener: Agent,
    foreign: Agent,
    workspace: str,
    planned: str,
    applied: str,
) -> None:
    listener.root, foreign.root = planned, applied
    run = await apply_queued(api, listener, workspace)
    await foreign.beat()
    assert "to take it" in await waits_for(control, api, listener.pool, run)
    work = await foreign.claim("other")
    assert work is not None
    assert work["kind"] == "apply"


async def test_a_plan_goes_anywhere_and_its_apply_follows_the_last_one(
    api: Client, listener: Agent, foreign: Agent, workspace: str
) -> None:
    listener.root, foreign.root = "/a", "/b"
    await apply_queued(api, foreign, workspace)
    assert await listener.claim("k") is None
    assert await foreign.claim("k") is not None


@pytest.mark.parametrize("root", ["\0", "/" + "x" * 5000, "/\N{SNOWMAN}"])
async def test_strange_folders_are_no_trouble(
    control: Control, api: Client, listener: Agent, workspace: str, root: str
) -> None:
    listener.root = root
    run = await apply_queued(api, listener, workspace)
    await listener.beat()
    assert "to take it" in await waits_for(control, api, listener.pool, run)
    assert await listener.claim("apply") is not None


async def counts_of(api: Client, run: str) -> list[int]:
    found = await api.get(f"/api/v2/runs/{run}?include=apply")
    [apply] = [one for one in found["included"] if one["type"] == "applies"]
    names = ("resource-additions", "resource-changes", "resource-destructions")
    return [apply["attributes"][name] for name in names]


async def test_a_finished_apply_has_the_counts_of_its_plan(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await apply_queued(api, listener, workspace)
    await factories.applies(listener)
    assert await counts_of(api, run) == [1, 0, 0]


async def test_a_failed_apply_has_what_the_agent_found(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await apply_queued(api, listener, workspace)
    work = await factories.starts_apply(listener)
    said = {"additions": 2, "destructions": 1, "message": "it failed"}
    assert (await listener.report(work, "errored", **said)).status_code == 200
    assert await counts_of(api, run) == [2, 0, 1]
