"""SQL of artifacts."""

from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.runs.model import Phase

_LEFT_BEHIND = """
select p.* from phases p join runs r on r.id = p.run_id
where p.artifacts <> '{}' and p.claimed_at < $1 and r.changed_at < $1
  and r.status in ('applied', 'discarded', 'errored', 'canceled', 'planned_and_finished')
order by p.claimed_at limit $2
"""


async def left_behind(before: datetime, at_most: int) -> list[Phase]:
    """Plans that left something, of runs that ended before then."""
    return await db.many(Phase, _LEFT_BEHIND, before, at_most)


async def forget_artifacts(plan: str) -> None:
    """A plan has left nothing any more."""
    await db.execute("update phases set artifacts = '{}' where id = $1", plan)


async def set_artifacts(phase: Phase) -> None:
    """Write the artifacts of a phase."""
    await db.execute(
        "update phases set artifacts = $2::jsonb where id = $1",
        phase.id,
        db.encode(phase.artifacts),
    )
