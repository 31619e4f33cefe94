"""SQL of what the database does not know, and of the runs that it left open."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.runs.model import Phase
from terrapod_control_plane.runs.recovery.model import Finding, OpenRun

_UNKNOWN = """
select u.id from unnest($1::text[], $2::bigint[]) u (id, fence)
where not exists (select from phases p where p.id = u.id and p.fence >= u.fence)
"""
_FOUND = """
insert into recovery_findings select * from jsonb_populate_record(null::recovery_findings, $1)
on conflict do nothing
"""


async def unknown(phases: Sequence[str], fences: Sequence[int]) -> set[str]:
    """Those of the phases that were never given out here under their fence or a later one."""
    return {row["id"] for row in await db.rows(_UNKNOWN, phases, fences)}


async def store(finding: Finding) -> None:
    """Remember a finding; the same one once."""
    await db.execute(_FOUND, db.encode(finding))


async def findings() -> list[Finding]:
    """What was found since the pause began."""
    return await db.many(Finding, "select * from recovery_findings order by workspace_name")


async def forget() -> None:
    """Nothing of it matters any more."""
    await db.execute("delete from recovery_findings")


# What a person has ended during the pause may have gone on before it all the same.
_OPEN = """
select id, workspace_id from runs
where created_at <= $1 and status not in ('applied', 'planned_and_finished')
    and (changed_at >= $1 or status not in ('discarded', 'errored', 'canceled'))
order by workspace_id, is_current desc, number
"""


async def open_runs(before: datetime) -> list[OpenRun]:
    """The runs that were open then; of each workspace the current one first."""
    return await db.many(OpenRun, _OPEN, before)


async def unfinished(run: str) -> list[Phase]:
    """The phases of a run that wait for an agent or have one, locked."""
    sql = (
        "select * from phases where run_id = $1 and status in ('queued', 'running') "
        "order by id for update"
    )
    return await db.many(Phase, sql, run)


async def pools() -> list[str]:
    """The pools that have something to claim."""
    sql = (
        "select distinct pool_id from phases where status = 'queued' and lease_until is null "
        "and pool_id is not null"
    )
    return [row["pool_id"] for row in await db.rows(sql)]
