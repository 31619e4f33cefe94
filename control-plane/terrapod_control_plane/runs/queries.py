"""SQL of runs and their phases."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from terrapod_control_plane.kernel import db, statements, unit_of_work
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Actor
from terrapod_control_plane.kernel.repository import Repository
from terrapod_control_plane.runs.model import MANY, Phase, Run, Standing, Stands
from terrapod_control_plane.runs.tables import Phases, Runs
from terrapod_control_plane.workspaces import visibility

M = TypeVar("M", bound=Struct)

RUNS = Repository(Runs, Run, made=("number",))
PHASES = Repository(Phases, Phase, beside=("left_gone",), computed=("shown_at",))
PHASE_COLUMNS = statements.columns(PHASES.fields, "p")

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
    stored = await unit_of_work.insert(RUNS, run)
    for phase in await PHASES.insert_all(phases):
        unit_of_work.adopt(PHASES, phase)
    return stored


async def save(run: Run) -> None:
    """Write what a move changed, at the end of the transaction."""
    if known := await unit_of_work.lock(RUNS, run.id):
        unit_of_work.save(RUNS, known, _moved(known, run, _RUN_FIELDS))


async def save_phase(phase: Phase) -> None:
    """Write what a move changed, at the end of the transaction."""
    if known := await unit_of_work.lock(PHASES, phase.id):
        unit_of_work.save(PHASES, known, _moved(known, phase, _PHASE_FIELDS))


def _moved(known: M, new: M, names: Sequence[str]) -> M:
    # What the move does not know of, such as the end of a log, is newer in the row.
    return replace(known, **{name: getattr(new, name) for name in names})


# The run comes first, as everywhere: the phase is found by what that part has written.
_READS = """
with read as (update runs set state_version_id = $2 where plan_id = $1 returning plan_id)
update phases set variables = $3 from read where phases.id = read.plan_id
"""


async def reads(plan: str, state: str | None, variables: bytes) -> None:
    """Note which state and which variables a plan reads."""
    await db.execute(_READS, plan, state, variables)


async def get(id_: str) -> Run | None:
    """A run by id."""
    return await RUNS.get(id_)


async def visible(actor: Actor, ids: Sequence[str]) -> list[Run]:
    """Those of these runs that an actor sees."""
    seen = visibility.of_column(actor, "workspace_id", after=1)
    return await RUNS.where(f"id = any($1) and {seen.sql}", list(ids), *seen.args)


async def locked(id_: str) -> Run | None:
    """A run, locked until the end of the transaction; its workspace is locked before it."""
    return await unit_of_work.lock(RUNS, id_)


async def workspace_of(id_: str) -> str | None:
    """The workspace of a run, a plan or an apply."""
    column = {"run": "id", "plan": "plan_id", "apply": "apply_id"}.get(id_.partition("-")[0])
    if column is None:
        return None
    if id_ in _WORKSPACES:
        return _WORKSPACES[id_]
    found: str | None = await db.value(
        f"select workspace_id from runs where {column} = $1",
        id_,
    )
    if found is not None:
        if len(_WORKSPACES) >= _KNOWN_AT_MOST:
            _WORKSPACES.clear()
        _WORKSPACES[id_] = found
    return found


async def phase(id_: str) -> Phase | None:
    """A phase by id."""
    return await PHASES.get(id_)


_WITH_RUN = f"""
select {PHASE_COLUMNS}, r.shown_at from phases p join runs r on r.id = p.run_id
where p.id = any($1)
"""


async def phases(ids: Sequence[str]) -> list[Phase]:
    """Phases by their ids, with the moment from which the ends of their runs are shown."""
    return await PHASES.all(_WITH_RUN, list(ids))


async def visible_phases(actor: Actor, ids: Sequence[str]) -> list[Phase]:
    """Those of these phases that an actor sees, as :func:`phases` gives them."""
    seen = visibility.of_column(actor, "p.workspace_id", after=1)
    return await PHASES.all(f"{_WITH_RUN} and {seen.sql}", list(ids), *seen.args)


async def show_end(run: str, at: datetime) -> None:
    """Show the end of a run from then on, if it is not shown before."""
    sql = "update runs set shown_at = $2 where id = $1 and shown_at > $2"
    await db.execute(sql, run, at)


async def unstarted(run: str) -> list[Phase]:
    """The phases of a run that were never queued, locked until the end of the transaction."""
    return await _locked_phases("run_id = $1 and status = 'pending'", run)


async def _locked_phases(condition: str, run: str) -> list[Phase]:
    found = await PHASES.where(f"{condition} order by id for update", run)
    return [unit_of_work.adopt(PHASES, phase) for phase in found]


async def waiting(run: str) -> list[Phase]:
    """The phases of a run that wait for an agent, locked until the end of the transaction.

    What an agent has is not locked: a beat may be renewing it among others, in another order.
    """
    return await _locked_phases("run_id = $1 and status = 'queued' and lease_until is null", run)


async def locked_phase(id_: str) -> Phase | None:
    """A phase, locked until the end of the transaction."""
    return await unit_of_work.lock(PHASES, id_)


_IN_WORKSPACE = (
    "workspace_id = $1 and (cardinality($2::text[]) = 0 "
    "or case when shown_at > $3 then 'applying' else status end = any($2))"
)


async def of_workspace(
    workspace: str, statuses: Sequence[str], now: datetime, paging: Paging
) -> Page[Run]:
    """The runs of a workspace, newest first; all statuses when none is named."""
    args = (workspace, list(statuses), now)
    return await RUNS.page(_IN_WORKSPACE, *args, order="number desc", paging=paging)


async def current(workspace: str) -> Run | None:
    """The run that has the workspace, locked until the end of the transaction."""
    return _known(await RUNS.first("workspace_id = $1 and is_current for update", workspace))


async def next_waiting(workspace: str) -> Run | None:
    """The run whose turn it is, locked until the end of the transaction."""
    waiting = "workspace_id = $1 and status = 'pending' order by number limit 1 for update"
    return _known(await RUNS.first(waiting, workspace))


async def any_before(workspace: str) -> bool:
    """Whether a run has the workspace, or waits for it."""
    sql = "select exists (select from runs where workspace_id = $1 and is_current)"
    waiting = "exists (select from runs where workspace_id = $1 and status = 'pending')"
    return bool(await db.value(f"{sql} or {waiting}", workspace))


def _known(found: Run | None) -> Run | None:
    return None if found is None else unit_of_work.adopt(RUNS, found)


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
select i.pause_reason, i.paused_at, f.run_id, f.log_at,
    case when f.lease_until is not null then f.listener_id end as listener_id,
    coalesce((select count(*) from (select from phases a where a.pool_id = f.pool_id
        and a.status = 'queued' and a.lease_until is null and a.rank < f.rank
        and f.status = 'queued' limit $2) first), 0) as ahead,
    coalesce((select count(*) from phases b
        where b.pool_id = f.pool_id and b.lease_until is not null), 0) as busy,
    (select p.root from phases p where f.kind = 'apply' and f.lease_until is null
        and p.run_id = f.run_id and p.kind = 'plan') as root
from installation i
left join phases f on f.run_id = any($1) and f.status in ('queued', 'running')
"""


async def standing(runs: Sequence[str]) -> Stands:
    """Where runs stand that wait for an agent or have one, and whether all is paused."""
    found = await db.rows(_STANDING, runs, MANY)
    paused = found[0]["pause_reason"] if found and found[0]["paused_at"] is not None else None
    phases = [db.model(row, Standing) for row in found if row["run_id"] is not None]
    return Stands(paused=paused, by_run={one.run_id: one for one in phases})


_OPEN = "status in ('pending', 'plan_queued', 'planning', 'confirmed', 'apply_queued', 'applying')"


async def open_runs(actor: Actor, paging: Paging) -> Page[Run]:
    """The runs that wait for or have an agent and that an actor sees, oldest first."""
    seen = visibility.of_column(actor, "workspace_id", after=0)
    return await RUNS.page(f"{_OPEN} and {seen.sql}", *seen.args, order="number", paging=paging)


async def capacity() -> tuple[int, int]:
    """How many runs wait for an agent, and how many have one."""
    found = await db.row(
        "select count(*) filter (where status in ('pending', 'plan_queued', 'confirmed', "
        "'apply_queued')) as pending, count(*) filter (where status in ('planning', 'applying')) "
        "as running from runs where status not in "
        "('applied', 'discarded', 'errored', 'canceled', 'planned_and_finished')"
    )
    return (found["pending"], found["running"]) if found else (0, 0)
