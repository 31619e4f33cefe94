"""SQL of outputs that are read."""

from collections.abc import Sequence

from terrapod_control_plane.kernel import db
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


async def outputs(ids: Sequence[str]) -> list[Output]:
    """Outputs by their ids."""
    return await db.many(Output, "select * from state_outputs where id = any($1)", ids)
