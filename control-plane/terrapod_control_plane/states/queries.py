"""SQL of state versions and outputs."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.states.model import Output, OutputLink, StateVersion
from terrapod_control_plane.states.tables import StateVersions


async def workspace_of(id_: str) -> str | None:
    """The workspace of a version."""
    sql = "select workspace_id from state_versions where id = $1"
    found: str | None = await db.value(sql, id_)
    return found


async def get(id_: str) -> StateVersion | None:
    """A version by id."""
    return await db.one(StateVersion, "select * from state_versions where id = $1", id_)


async def locked(id_: str) -> StateVersion | None:
    """A version, locked until the end of the transaction; its workspace is locked before it."""
    sql = "select * from state_versions where id = $1 for update"
    return await db.one(StateVersion, sql, id_)


async def many(ids: Sequence[str]) -> list[StateVersion]:
    """Versions by their ids."""
    return await db.many(StateVersion, "select * from state_versions where id = any($1)", ids)


_LISTED = "from state_versions where workspace_id = $1 and status <> 'discarded'"


async def page(workspace: str, paging: Paging) -> Page[StateVersion]:
    """The versions of a workspace, newest first."""
    total = await db.value(f"select count(*) {_LISTED}", workspace)
    found = await db.many(
        StateVersion,
        f"select * {_LISTED} order by number desc limit $2 offset $3",
        workspace,
        paging.size,
        paging.offset,
    )
    return Page(found, paging, total)


async def insert(new: StateVersion) -> None:
    """Store a version."""
    await db.insert(StateVersions, new)


async def update(changed: StateVersion) -> None:
    """Write a version."""
    await db.update(StateVersions, changed)


_DISCARD = """
update state_versions set status = 'discarded'
where status = 'pending' and created_at < $1 returning *
"""


async def discard_pending(before: datetime) -> list[StateVersion]:
    """Give up versions whose content never came."""
    return await db.many(StateVersion, _DISCARD, before)


_INSERT_OUTPUTS = """
insert into state_outputs (id, state_version_id, name, sensitive, type, detailed_type, sealed)
select id, $1, name, sensitive, type, detailed::jsonb, sealed
from unnest($2::text[], $3::text[], $4::boolean[], $5::text[], $6::text[], $7::bytea[])
     as new (id, name, sensitive, type, detailed, sealed)
"""


async def insert_outputs(version: str, outputs: Sequence[Output]) -> None:
    """Store the outputs of a version."""
    await db.execute(
        _INSERT_OUTPUTS,
        version,
        [output.id for output in outputs],
        [output.name for output in outputs],
        [output.sensitive for output in outputs],
        [output.type for output in outputs],
        [db.encode(output.detailed_type) for output in outputs],
        [output.sealed for output in outputs],
    )


async def output_links(versions: Sequence[str]) -> list[OutputLink]:
    """Which outputs versions have, by their names."""
    return await db.many(OutputLink, _LINKS, versions)


_LINKS = """
select id, state_version_id from state_outputs
where state_version_id = any($1) order by name collate "C"
"""


async def workspace_of_output(id_: str) -> str | None:
    """The workspace of an output."""
    sql = (
        "select s.workspace_id from state_outputs o "
        "join state_versions s on s.id = o.state_version_id where o.id = $1"
    )
    found: str | None = await db.value(sql, id_)
    return found
