"""No request and no job reads a table that grows from one end to the other."""

import hashlib
import importlib
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import terrapod_control_plane
from terrapod_agent.identity import certificate_request, new_key
from terrapod_control_plane import app
from terrapod_control_plane.kernel import db, jobs
from terrapod_control_plane.kernel.context import system
from terrapod_control_plane.runs.phases.leases import internal as leases
from tests.control.test_every_route import answer, ids
from tests.kit import factories
from tests.kit.control import Agent, Client, Control
from tests.kit.routes import Route, routes
from tests.kit.samples import AT
from tests.kit.sql_plans import Statements, called, grow, grown_tables

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

__all__ = ["ids"]  # a fixture

HOME = Path(terrapod_control_plane.__file__).parent
INCLUDES = "configuration_version,created_by,plan,apply,workspace.current_run"
# Made by no request here: at the first start, when a restored server goes on, by a key alone, or
# by who would have to stand in line (a part of the claim, whose plan is looked at).
NOT_HERE = {
    "agents.queries.listener_scope",
    "identity.queries.any_user",
    "runs.queries.show_end",
    "runs.recovery.queries.forget",
    "runs.recovery.queries.open_runs",
    "runs.recovery.queries.pools",
    "runs.recovery.queries.store",
    "runs.recovery.queries.unfinished",
    "runs.phases.leases.queries.claimed_before",
    "runs.phases.late_results.queries.received",
    "runs.phases.late_results.queries.finished",
    "workspaces.sharing.queries.sharer_by_id",
    "workspaces.sharing.queries.sharer_by_name",
}
# Tables that are not filled here, so nothing is told of how they are read. A new one is filled.
NOT_JUDGED = {
    "deleted_workspaces",
    "doomed_blobs",
    "installation",
    "migration",
    "organizations",
    "outbox_cursors",
    "outbox_dead_letters",
    "recovery_findings",
    "remote_state_consumers",
    "secrets",
    "tools",
}
OUTPUTS = {"one": {"value": 1, "type": "number"}}


def queries() -> list[ModuleType]:
    """All modules with SQL of slices."""
    found = sorted(HOME.rglob("queries.py"))
    names = [".".join(path.relative_to(HOME.parent).with_suffix("").parts) for path in found]
    return [importlib.import_module(name) for name in names]


def state(serial: int) -> bytes:
    return json.dumps(factories.STATE | {"serial": serial, "outputs": OUTPUTS}).encode()


async def runs(control: Control, api: Client, agent: Agent, workspace: str) -> None:
    """Runs in all stages: applied, waiting, canceled, lost with its state."""
    await factories.configuration(api, workspace)
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(agent, "first")
    await factories.run(api, workspace)
    apply = await factories.starts_apply(agent, "second")
    await agent.beat(apply)
    for at in range(40):  # enough of them to be joined
        await agent.send(apply, "log", b"x", f"offset={at}")
    await agent.send(apply, "state", state(2), "final=false")
    await agent.send(apply, "state", state(3), "final=true")
    await agent.report(apply, "applied")
    waiting = await factories.starts_plan(agent, "third")
    await api.post(f"/api/v2/runs/{waiting['run_id']}/actions/cancel")
    await agent.get(f"{agent.at}/orders?wait=0&seen=1")
    await agent.report(waiting, "canceled")
    await factories.run(api, workspace, **{"auto-apply": True})
    await factories.plans(agent, "fourth")
    lost = await factories.starts_apply(agent, "fifth")
    for serial in (4, 5):
        await agent.send(lost, "state", state(serial), "final=false")
    control.clock.move(3600)
    await control.sweep()
    await agent.send(lost, "recovered-state", state(6))
    await agent.call("POST", f"{agent.at}/heartbeat", json={"kept": []})  # as after a restart
    report = {"status": "planning"}  # without a fence, as the reference of the API has it
    await agent.call("PATCH", f"{agent.at}/runs/{lost['run_id']}", json=report)
    await api.post(f"/api/v2/workspaces/{workspace}/actions/adopt-state")


async def uploads(api: Client, workspace: str) -> None:
    """States of people: announced twice, given, read with all that is in them."""
    content = state(9)
    given = {"serial": 9, "md5": hashlib.md5(content).hexdigest()}
    for _ in range(2):
        made: Any = await api.post(
            f"/api/v2/workspaces/{workspace}/state-versions",
            {"type": "state-versions", "attributes": given},
        )
    await api.call("PUT", made["data"]["attributes"]["hosted-state-upload-url"], content=content)
    await db.execute(
        "update state_versions set output_count = null where id = $1", made["data"]["id"]
    )
    await api.get(f"/api/v2/state-versions/{made['data']['id']}/outputs")


async def everything(control: Control, api: Client, agent: Agent, known: dict[str, str]) -> None:
    """All routes, by people and by an agent, and all jobs."""
    workspace = known["workspace_id"]
    await control.token("another")
    await uploads(api, workspace)
    held = await factories.run(api, workspace, **{"plan-only": True})
    for _ in range(2):  # a new name, and the same again while it holds something
        third = await control.join(api, known["pool_id"], "third")
        await third.claim("sixth")
    await api.post(f"/api/v2/runs/{held}/actions/cancel")
    await runs(control, api, agent, workspace)
    for path in (
        f"workspaces/{workspace}/runs?include={INCLUDES}",
        f"workspaces/{workspace}/current-state-version?include=outputs,run",
        f"workspaces/{workspace}/state-versions?include=run,created_by",
        "organizations/default/workspaces?include=current_run,current_state_version",
    ):
        await api.get(f"/api/v2/{path}")
    await agent.call("POST", f"{agent.at}/renew", json={"csr": certificate_request(new_key(), "x")})
    await agent.call("GET", "/api/v2/binary-cache/terraform/latest/linux/amd64")
    await leases.extend_all(system(control.services))
    await by_itself(control)
    control.clock.move(2)  # what was seen of pools is asked for anew
    for number, version in enumerate(("latest", "~> 1.9")):
        of = await factories.workspace(api, f"of-{number}", **{"terraform-version": version})
        await factories.configuration(api, of)
        await factories.run(api, of)
    for route in sorted(routes(control.app), key=_removes):
        await answer(agent if route.agents else api, route, known)
    await api.call("DELETE", f"/api/v2/workspaces/{await factories.workspace(api, 'empty')}")
    await db.execute("update organizations set default_agent_pool_id = null")
    left, heir = await factories.pool(api, "left"), await factories.pool(api, "heir")
    await factories.workspace(api, "named", **{"agent-pool-id": left, "execution-mode": "agent"})
    await api.call("DELETE", f"/api/v2/agent-pools/{left}?move-to={heir}")
    control.clock.move(40 * 24 * 3600)
    await by_itself(control)


async def by_itself(control: Control) -> None:
    """All jobs, once."""
    for job in app.jobs(control.services.settings):
        await jobs.turn(job, control.services)


def _removes(route: Route) -> bool:
    return route.method == "DELETE" or route.path.endswith("/safe-delete")


async def test_no_statement_scans_a_table_that_grows(
    control: Control, api: Client, listener: Agent, ids: dict[str, str]
) -> None:
    statements = Statements()
    with called(queries()) as ran:
        async with statements.recorded():
            await everything(control, api, listener, ids)
    missing = {name.removeprefix("terrapod_control_plane.") for name in all_of(queries()) - ran}
    await grow()
    scans = await statements.scans()
    assert not scans, "\n".join(("needs an index, in its order:", *scans))
    assert missing <= NOT_HERE, f"made by no request here: {missing - NOT_HERE}"


async def test_every_table_is_judged_or_named(control: Control) -> None:
    found = await db.rows("select tablename from pg_tables where schemaname = 'public'")
    untold = {row["tablename"] for row in found} - grown_tables() - NOT_JUDGED
    assert not untold, f"how its rows look after a while is not said in grown of {AT}: {untold}"


def all_of(modules: list[ModuleType]) -> set[str]:
    """The names of what has to be looked at."""
    return {
        f"{module.__name__}.{name}"
        for module in modules
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__
    }


SCANS = [
    "select * from phases where start_confirmed and order_kind = 'cancel'",
    "select count(*) from runs where message = ''",
    "select * from runs order by number desc",
    "select * from certificates where not_after < now()",
]
FINDS = [
    "select * from phases where listener_id = 'listener-1' and order_kind is not null",
    "select * from runs where id = 'run-1' for update",
    "select count(*) from runs where status = 'pending'",
    "update runs set message = 'x' where id = 'run-1'",
    "select * from workspaces order by description",
]


async def test_what_counts_as_a_scan(control: Control) -> None:
    statements = Statements()
    async with statements.recorded():
        for sql in (*SCANS, *FINDS):
            await db.execute(sql)
    await grow()
    found = await statements.scans()
    assert [line.partition(": ")[2] for line in found] == SCANS
