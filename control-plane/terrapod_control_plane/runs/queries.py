"""SQL of runs and their phases."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.runs.model import MANY, Phase, Run, Standing
from terrapod_control_plane.runs.tables import Phases, Runs

# What a move of the lifecycle may change.
_RUN_FIELDS = (
    "status",
    "status_timestamps",
    "is_current",
    "pool_id",
    "plain_variables",
    "has_changes",
    "confirmed_by",
    "changed_at",
    "canceled_at",
    "force_cancel_available_at",
    "state_version_id",
    "reason",
    "shown_at",
)
_PHASE_FIELDS = (
    "status",
    "status_timestamps",
    "pool_id",
    "queued_at",
    "rank",
    "claim_key",
    "lease_until",
    "start_confirmed",
    "order_kind",
    "ordered_at",
    "has_changes",
    "additions",
    "changes",
    "destructions",
    "imports",
    "artifacts",
    "log_complete",
    "hold_cause",
    "lost_fence",
    "late_from",
    "late_size",
    "late_at",
)


# A run never moves, and goes with its workspace, which whoever asks for it looks up next.
_WORKSPACES: dict[str, str] = {}
_KNOWN_AT_MOST = 20_000


async def insert(run: Run, phases: Sequence[Phase]) -> Run:
    """Store a run with its phases; the database numbers it."""
    await db.insert(Runs, run)
    for phase in phases:
        await db.insert(Phases, phase)
    return await locked(run.id) or run


async def save(run: Run) -> None:
    """Write what a move changed."""
    await db.update(Runs, run, *_RUN_FIELDS)


async def reads(plan: str, state: str | None, variables: bytes) -> None:
    """Note which state and which variables a plan reads; needs a transaction.

    Two statements: PostgreSQL runs those of one in an order of its own, and the run comes first.
    """
    await db.execute("update runs set state_version_id = $2 where plan_id = $1", plan, state)
    await db.execute("update phases set variables = $2 where id = $1", plan, variables)


async def save_phase(phase: Phase) -> None:
    """Write what a move changed."""
    await db.update(Phases, phase, *_PHASE_FIELDS)


async def get(id_: str) -> Run | None:
    """A run by id."""
    return await db.one(Run, "select * from runs where id = $1", id_)


async def many(ids: Sequence[str]) -> list[Run]:
    """Runs by their ids."""
    return await db.many(Run, "select * from runs where id = any($1)", ids)


async def locked(id_: str) -> Run | None:
    """A run, locked until the end of the transaction; its workspace is locked before it."""
    return await db.one(Run, "select * from runs where id = $1 for update", id_)


async def workspace_of(id_: str) -> str | None:
    """The workspace of a run, a plan or an apply."""
    column = {"run": "id", "plan": "plan_id", "apply": "apply_id"}.get(id_.partition("-")[0])
    if column is None:
        return None
    if id_ in _WORKSPACES:
        return _WORKSPACES[id_]
    found: str | None = await db.value(
        f"select workspace_id from runs where {column} = $1",  # noqa: S608 - one of three names
        id_,
    )
    if found is not None:
        if len(_WORKSPACES) >= _KNOWN_AT_MOST:
            _WORKSPACES.clear()
        _WORKSPACES[id_] = found
    return found


async def phase(id_: str) -> Phase | None:
    """A phase by id."""
    return await db.one(Phase, "select * from phases where id = $1", id_)


async def phases(ids: Sequence[str]) -> list[Phase]:
    """Phases by their ids, with the moment from which the ends of their runs are shown."""
    sql = "select p.*, r.shown_at from phases p join runs r on r.id = p.run_id where p.id = any($1)"
    return await db.many(Phase, sql, ids)


async def show_end(run: str, at: datetime) -> None:
    """Show the end of a run from then on, if it is not shown before."""
    sql = "update runs set shown_at = $2 where id = $1 and shown_at > $2"
    await db.execute(sql, run, at)


async def unstarted(run: str) -> list[Phase]:
    """The phases of a run that were never queued, locked until the end of the transaction."""
    sql = "select * from phases where run_id = $1 and status = 'pending' order by id for update"
    return await db.many(Phase, sql, run)


async def waiting(run: str) -> list[Phase]:
    """The phases of a run that wait for an agent, locked until the end of the transaction.

    What an agent has is not locked: a beat may be renewing it among others, in another order.
    """
    sql = (
        "select * from phases where run_id = $1 and status = 'queued' and lease_until is null "
        "order by id for update"
    )
    return await db.many(Phase, sql, run)


async def locked_phase(id_: str) -> Phase | None:
    """A phase, locked until the end of the transaction."""
    return await db.one(Phase, "select * from phases where id = $1 for update", id_)


async def of_workspace(
    workspace: str, statuses: Sequence[str], now: datetime, paging: Paging
) -> Page[Run]:
    """The runs of a workspace, newest first; all statuses when none is named."""
    where = (
        "from runs where workspace_id = $1 and (cardinality($2::text[]) = 0 "
        "or case when shown_at > $3 then 'applying' else status end = any($2))"
    )
    total = await db.value(f"select count(*) {where}", workspace, list(statuses), now)
    found = await db.many(
        Run,
        f"select * {where} order by number desc limit $4 offset $5",
        workspace,
        list(statuses),
        now,
        paging.size,
        paging.offset,
    )
    return Page(found, paging, total)


async def current(workspace: str) -> Run | None:
    """The run that has the workspace, locked until the end of the transaction."""
    return await db.one(
        Run, "select * from runs where workspace_id = $1 and is_current for update", workspace
    )


async def next_waiting(workspace: str) -> Run | None:
    """The run whose turn it is, locked until the end of the transaction."""
    return await db.one(
        Run,
        "select * from runs where workspace_id = $1 and status = 'pending' "
        "order by number limit 1 for update",
        workspace,
    )


_AHEAD = """
select r.id,
    (select count(*) from runs a where a.workspace_id = r.workspace_id
        and a.number < r.number and a.status = 'pending')
    + (select count(*) from runs a where a.workspace_id = r.workspace_id
        and a.number < r.number and a.is_current and a.status <> 'pending') as ahead
from runs r where r.id = any($1)
"""


async def ahead(runs: Sequence[str]) -> dict[str, int]:
    """How many runs stand before each of these in its workspace."""
    return {row["id"]: row["ahead"] for row in await db.rows(_AHEAD, runs)}


_STANDING = """
select f.run_id, f.log_at,
    case when f.lease_until is not null then f.listener_id end as listener_id,
    (select count(*) from (select from phases a where a.pool_id = f.pool_id
        and a.status = 'queued' and a.lease_until is null and a.rank < f.rank
        and f.status = 'queued' limit $2) first) as ahead,
    (select count(*) from phases b
        where b.pool_id = f.pool_id and b.lease_until is not null) as busy,
    (select p.root from phases p where f.kind = 'apply' and f.lease_until is null
        and p.run_id = f.run_id and p.kind = 'plan') as root
from phases f where f.run_id = any($1) and f.status in ('queued', 'running')
"""


async def standing(runs: Sequence[str]) -> dict[str, Standing]:
    """Where runs stand that wait for an agent or have one, by their ids."""
    found = await db.many(Standing, _STANDING, runs, MANY)
    return {one.run_id: one for one in found}


_OPEN = (
    "from runs where status in "
    "('pending', 'plan_queued', 'planning', 'confirmed', 'apply_queued', 'applying')"
)


async def open_workspaces() -> list[str]:
    """The workspaces of the runs that wait for or have an agent."""
    return [row["id"] for row in await db.rows(f"select distinct workspace_id as id {_OPEN}")]


async def open_runs(workspaces: Sequence[str], paging: Paging) -> Page[Run]:
    """The runs of these workspaces that wait for or have an agent, oldest first."""
    where = f"{_OPEN} and workspace_id = any($1)"
    total = await db.value(f"select count(*) {where}", workspaces)
    sql = f"select * {where} order by number limit $2 offset $3"
    return Page(await db.many(Run, sql, workspaces, paging.size, paging.offset), paging, total)


async def capacity() -> tuple[int, int]:
    """How many runs wait for an agent, and how many have one."""
    found = await db.row(
        "select count(*) filter (where status in ('pending', 'plan_queued', 'confirmed', "
        "'apply_queued')) as pending, count(*) filter (where status in ('planning', 'applying')) "
        "as running from runs where status not in "
        "('applied', 'discarded', 'errored', 'canceled', 'planned_and_finished')"
    )
    return (found["pending"], found["running"]) if found else (0, 0)


async def any_open_in(pool: str) -> bool:
    """Whether a run that is not over counts on the agents of a pool."""
    sql = (
        "select exists (select from runs where pool_id = $1 and status not in "
        "('applied', 'discarded', 'errored', 'canceled', 'planned_and_finished'))"
    )
    return bool(await db.value(sql, pool))


async def busy_among(listeners: Sequence[str]) -> set[str]:
    """Those of the agents that have a phase."""
    sql = (
        "select distinct listener_id as id from phases "
        "where listener_id = any($1) and lease_until is not null"
    )
    return {row["id"] for row in await db.rows(sql, listeners)}


# In the order in which their workspaces are locked.
_NOT_OVER = """
select id from runs
where status not in ('applied', 'discarded', 'errored', 'canceled', 'planned_and_finished')
  and {} order by workspace_id, number
"""


async def open_in(pool: str) -> list[str]:
    """The runs that are not over and count on the agents of a pool."""
    return [row["id"] for row in await db.rows(_NOT_OVER.format("pool_id = $1"), pool)]


async def open_of(workspace: str) -> list[str]:
    """The runs of a workspace that are not over."""
    return [row["id"] for row in await db.rows(_NOT_OVER.format("workspace_id = $1"), workspace)]


async def without_pool() -> list[str]:
    """The runs that are not over and that no pool can get yet."""
    return [row["id"] for row in await db.rows(_NOT_OVER.format("pool_id is null"))]
