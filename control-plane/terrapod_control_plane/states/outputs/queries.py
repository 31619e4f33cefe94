"""SQL of outputs that are read."""

from terrapod_control_plane.kernel import db
from terrapod_control_plane.states.model import Excerpt

# An excerpt holds at most as many as $4, so those that end before the wanted ones are not read.
_HOLDING = """
select kind, first, count, sealed as content from state_excerpts
where state_version_id = $1 and kind = 'outputs'
  and first > $2 - $4::integer and first < $3 and first + count > $2
order by first
"""


async def holding(version: str, start: int, end: int, in_one: int) -> list[Excerpt]:
    """The excerpts that hold the outputs of a version from one number to another."""
    return await db.many(Excerpt, _HOLDING, version, start, end, in_one)
