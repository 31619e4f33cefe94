"""SQL of states that runs write."""

from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.states.model import StateVersion
from terrapod_control_plane.states.queries import STATES


async def recovered_of(run: str) -> StateVersion | None:
    """The last state that was saved for a run after its end."""
    where = "run_id = $1 and status = 'recovered' order by number desc limit 1"
    return await STATES.first(where, run)


async def has_final(run: str) -> bool:
    """Whether the last state of a run is there."""
    sql = (
        "select exists (select from state_versions "
        "where run_id = $1 and status = 'finalized' and not intermediate)"
    )
    return bool(await db.value(sql, run))


async def newest_of(run: str) -> StateVersion | None:
    """The state of a run that came last, in its turn or late."""
    where = "run_id = $1 and status in ('finalized', 'recovered') order by number desc limit 1"
    return await STATES.first(where, run)


_SURPLUS = f"""
delete from state_versions where id = any(array(
    select id from state_versions where run_id = $1 and status = 'recovered'
    order by number desc offset $2))
returning {STATES.columns}
"""


async def prune_recovered(run: str, keep: int) -> list[StateVersion]:
    """Remove all but the newest of the states that were saved for a run after its end."""
    return await STATES.all(_SURPLUS, run, keep)


_PRUNE = f"""
delete from state_versions where run_id = $1 and id <> $2 and intermediate
  and not id = any(array(select id from state_versions where run_id = $1 and intermediate
                         order by number desc limit $3))
returning {STATES.columns}
"""


async def prune(run: str, keep: str, newest: int) -> list[StateVersion]:
    """Remove what a run had saved on its way, but for one version and the newest of them."""
    return await STATES.all(_PRUNE, run, keep, newest)


_PASSED = """
intermediate and created_at < $1 and exists (
    select from state_versions n
    where n.run_id = state_versions.run_id and n.number > state_versions.number
      and n.status = 'finalized')
order by created_at limit $2
"""


async def passed(before: datetime, at_most: int) -> list[StateVersion]:
    """What runs had saved on their way before then, and went on from."""
    return await STATES.where(_PASSED, before, at_most)


async def remove(version: str) -> bool:
    """Remove a version that is still one on the way; its workspace is locked."""
    sql = "delete from state_versions where id = $1 and intermediate"
    return bool(await db.execute(sql, version))
