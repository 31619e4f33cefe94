"""SQL of runs and pools."""

from collections.abc import Sequence

from terrapod_control_plane.kernel import db


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
