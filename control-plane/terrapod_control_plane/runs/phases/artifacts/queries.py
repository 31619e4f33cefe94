"""SQL of artifacts."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from terrapod_control_plane.kernel import db
from terrapod_control_plane.runs.model import Phase

_LEFT_BEHIND = """
select p.id, p.workspace_id, p.claimed_at, exists (
    select from runs r where r.id = p.run_id and r.changed_at < $1
      and r.status in ('applied', 'discarded', 'errored', 'canceled', 'planned_and_finished')
) as over
from (
    select * from phases
    where kind = 'plan' and not left_gone and claimed_at < $1 and (claimed_at, id) > ($2, $3)
    order by claimed_at, id limit $4
) p order by claimed_at, id
"""


class Left(Struct, frozen=True, kw_only=True):
    """A plan that may have left something."""

    id: str
    workspace_id: str
    claimed_at: datetime
    over: bool  # its run ended long ago


async def left_behind(before: datetime, after: tuple[datetime, str], at_most: int) -> list[Left]:
    """Plans that were claimed before then, the first one first, behind the one that is named."""
    return await db.many(Left, _LEFT_BEHIND, before, *after, at_most)


async def forget_artifacts(plan: str) -> None:
    """A plan has left nothing any more, and nobody has to look again."""
    await db.execute("update phases set artifacts = '{}', left_gone = true where id = $1", plan)


_IN_USE = """
select distinct configuration_version_id as id from runs
where configuration_version_id = any($1) and (changed_at >= $2 or status not in
    ('applied', 'discarded', 'errored', 'canceled', 'planned_and_finished'))
"""


async def in_use(configurations: Sequence[str], since: datetime) -> set[str]:
    """Those with a run that goes on, or has ended since then."""
    return {row["id"] for row in await db.rows(_IN_USE, configurations, since)}


async def set_artifacts(phase: Phase) -> None:
    """Write the artifacts of a phase."""
    await db.execute(
        "update phases set artifacts = $2::jsonb where id = $1",
        phase.id,
        db.encode(phase.artifacts),
    )
