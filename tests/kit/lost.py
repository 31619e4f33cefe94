"""An apply that was given up, and all that may be looked at of it."""

from typing import Any

from terrapod_control_plane.kernel import db
from tests.kit import factories
from tests.kit.control import Agent, Client, Control

LATER = 121
MARK = "--- late, after the run had ended ---"
# What a late result may change beside the words of the hold.
LATE = {"late_size", "late_at", "log_size", "log_at"}


async def applying(api: Client, agent: Agent, workspace: str) -> dict[str, Any]:
    """A started apply with a line of log."""
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(agent)
    work = await factories.starts_apply(agent)
    assert (await agent.send(work, "log", b"begins\n", "offset=0")).status_code == 200
    return work


async def lost(control: Control, api: Client, agent: Agent, workspace: str) -> dict[str, Any]:
    """The same, given up for the silence of its agent."""
    work = await applying(api, agent, workspace)
    control.clock.move(LATER)
    await control.sweep()
    return work


async def late(agent: Agent, work: dict[str, Any], **said: Any) -> Any:
    """What the agent says of it after that."""
    path = f"{agent.at}/phases/{work['phase_id']}/late-result?fence={work['fence']}"
    return await agent.call("PUT", path, json={"began": True} | said)


async def hold(api: Client, workspace: str) -> Any:
    """The hold of a workspace."""
    return (await api.get(f"/api/v2/workspaces/{workspace}"))["data"]["attributes"]["hold"]


async def log_of(api: Client, run: str) -> str:
    """The log of a run's apply, framed."""
    apply = await api.get(f"/api/v2/runs/{run}/apply")
    return (await api.call("GET", apply["data"]["attributes"]["log-read-url"])).text


async def rows() -> list[dict[str, Any]]:
    """All that a late result must not change."""
    found = [*await db.rows("select * from phases order by id")]
    found += await db.rows("select * from runs order by id")
    found += await db.rows("select * from state_versions order by id")
    plain = [{key: row[key] for key in row if key not in LATE} for row in map(dict, found)]
    spaces = map(dict, await db.rows("select * from workspaces order by id"))
    return plain + [{key: row[key] for key in row if key != "hold_reason"} for row in spaces]
