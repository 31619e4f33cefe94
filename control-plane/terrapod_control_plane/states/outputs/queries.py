"""SQL of outputs that are read."""

from collections.abc import Sequence

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.policy import Sees
from terrapod_control_plane.states.model import Output


async def outputs_of(versions: Sequence[str]) -> list[Output]:
    """The outputs of versions, by their names."""
    return await db.many(
        Output,
        'select * from state_outputs where state_version_id = any($1) order by name collate "C"',
        versions,
    )


async def output(id_: str) -> Output | None:
    """An output by id."""
    return await db.one(Output, "select * from state_outputs where id = $1", id_)


_VISIBLE_OUTPUTS = """
select o.* from state_outputs o join state_versions s on s.id = o.state_version_id
join workspaces w on w.id = s.workspace_id
where o.id = any($1) and ($2 or w.owner_id = $3)
"""


async def outputs(sees: Sees, ids: Sequence[str]) -> list[Output]:
    """The visible ones of these outputs."""
    return await db.many(Output, _VISIBLE_OUTPUTS, ids, sees.everything, sees.owner)
