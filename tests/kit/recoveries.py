"""Pausing a control plane, setting its database back, and what is told of it."""

from typing import Any

from terrapod_control_plane.kernel import db, epochs
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

RECOVERY = "/api/v2/admin/recovery"
RESUME = f"{RECOVERY}/actions/resume"


async def pause(control: Control, reason: str = "it was restored from a backup") -> None:
    async with db.transaction():
        await epochs.begin(control.services.clock.now())
        await epochs.pause(control.services.clock.now(), reason)


async def present(api: Client) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(RECOVERY))["data"]["attributes"]
    return found


async def resume(api: Client) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.post(RESUME))["data"]["attributes"]
    return answer


async def shown(api: Client, run: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"/api/v2/runs/{run}"))["data"]["attributes"]
    return found


async def hold_of(workspace: str) -> str:
    reason: str = await db.value("select hold_reason from workspaces where id = $1", workspace)
    return reason


async def applied(api: Client, agent: Agent, workspace: str) -> dict[str, Any]:
    run = await factories.run(api, workspace)
    await factories.plans(agent)
    await api.post(f"/api/v2/runs/{run}/actions/apply")
    return await factories.applies(agent)


async def set_back(run: str) -> None:
    """As a database of before the run is."""
    await db.execute(
        "update workspaces set current_run_id = null, held_by_run_id = null, "
        "current_state_version_id = null where current_run_id = $1",
        run,
    )
    await db.execute("delete from runs where id = $1", run)
