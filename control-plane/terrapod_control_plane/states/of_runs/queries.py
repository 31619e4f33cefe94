"""SQL of states that runs write."""

from terrapod_control_plane.kernel import db
from terrapod_control_plane.states.model import StateVersion

_RECOVERED = """
select * from state_versions where run_id = $1 and status = 'recovered'
order by number desc limit 1
"""


async def recovered_of(run: str) -> StateVersion | None:
    """The last state that was saved for a run after its end."""
    return await db.one(StateVersion, _RECOVERED, run)


async def has_final(run: str) -> bool:
    """Whether the last state of a run is there."""
    sql = (
        "select exists (select from state_versions "
        "where run_id = $1 and status = 'finalized' and not intermediate)"
    )
    return bool(await db.value(sql, run))


_NEWEST = """
select * from state_versions where run_id = $1 and status in ('finalized', 'recovered')
order by number desc limit 1
"""


async def newest_of(run: str) -> StateVersion | None:
    """The state of a run that came last, in its turn or late."""
    return await db.one(StateVersion, _NEWEST, run)


_SURPLUS = """
delete from state_versions where id = any(array(
    select id from state_versions where run_id = $1 and status = 'recovered'
    order by number desc offset $2))
returning *
"""


async def prune_recovered(run: str, keep: int) -> list[StateVersion]:
    """Remove all but the newest of the states that were saved for a run after its end."""
    return await db.many(StateVersion, _SURPLUS, run, keep)


_PRUNE = """
delete from state_versions where run_id = $1 and id <> $2 and intermediate returning *
"""


async def prune(run: str, keep: str) -> list[StateVersion]:
    """Remove what a run had saved on its way."""
    return await db.many(StateVersion, _PRUNE, run, keep)
