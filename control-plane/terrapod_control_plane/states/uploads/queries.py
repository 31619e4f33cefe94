"""SQL of states that are waited for."""

from terrapod_control_plane.kernel import db
from terrapod_control_plane.states.model import StateVersion

_PENDING = """
select * from state_versions
where workspace_id = $1 and status = 'pending' and serial = $2 and md5 = $3
  and created_by is not distinct from $4 and lineage = $5 and force = $6
order by number desc limit 1
"""


async def pending_like(new: StateVersion) -> StateVersion | None:
    """The version that the same person announced for the same content."""
    said = (new.workspace_id, new.serial, new.md5, new.created_by, new.lineage, new.force)
    return await db.one(StateVersion, _PENDING, *said)
