"""SQL of states that are waited for."""

from terrapod_control_plane.states.model import StateVersion
from terrapod_control_plane.states.queries import STATES

_PENDING = """
workspace_id = $1 and status = 'pending' and serial = $2 and md5 = $3
  and created_by is not distinct from $4 and lineage = $5 and force = $6
order by number desc limit 1
"""


async def pending_like(new: StateVersion) -> StateVersion | None:
    """The version that the same person announced for the same content."""
    said = (new.workspace_id, new.serial, new.md5, new.created_by, new.lineage, new.force)
    return await STATES.first(_PENDING, *said)
