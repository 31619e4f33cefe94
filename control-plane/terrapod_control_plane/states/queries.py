"""SQL of state versions and outputs."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Scope, Sees, Where
from terrapod_control_plane.states.model import Output, OutputLink, StateVersion
from terrapod_control_plane.states.tables import StateVersions

_SCOPE = """
select w.id, w.name, w.owner_id, w.labels
from state_versions s join workspaces w on w.id = s.workspace_id where s.id = $1
"""


async def scope(id_: str) -> Scope | None:
    """The workspace that a version belongs to."""
    found = await db.row(_SCOPE, id_)
    if found is None:
        return None
    return Scope(
        where=Where.WORKSPACE,
        id=found["id"],
        name=found["name"],
        owner=found["owner_id"],
        labels=found["labels"],
    )


async def get(id_: str) -> StateVersion | None:
    """A version by id."""
    return await db.one(StateVersion, "select * from state_versions where id = $1", id_)


async def locked(id_: str) -> StateVersion | None:
    """A version, locked until the end of the transaction; its workspace is locked before it."""
    sql = "select * from state_versions where id = $1 for update"
    return await db.one(StateVersion, sql, id_)


_VISIBLE = """
select s.* from state_versions s join workspaces w on w.id = s.workspace_id
where s.id = any($1) and ($2 or w.owner_id = $3)
"""


async def many(sees: Sees, ids: Sequence[str]) -> list[StateVersion]:
    """The visible ones of these versions."""
    return await db.many(StateVersion, _VISIBLE, ids, sees.everything, sees.owner)


_CURRENT = """
select s.* from workspaces w join state_versions s on s.id = w.current_state_version_id
where w.id = $1
"""


async def current(workspace: str) -> StateVersion | None:
    """The present state of a workspace."""
    return await db.one(StateVersion, _CURRENT, workspace)


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


_RECOVERED = """
select * from state_versions where run_id = $1 and status = 'recovered'
order by number desc limit 1
"""


async def recovered_of(run: str) -> StateVersion | None:
    """The last state that was saved for a run after its end."""
    return await db.one(StateVersion, _RECOVERED, run)


_PRUNE = """
delete from state_versions where run_id = $1 and id <> $2 and intermediate returning *
"""


async def prune(run: str, keep: str) -> list[StateVersion]:
    """Remove what a run had saved on its way."""
    return await db.many(StateVersion, _PRUNE, run, keep)


_OUTPUT_SCOPE = """
select w.id, w.name, w.owner_id, w.labels
from state_outputs o join state_versions s on s.id = o.state_version_id
join workspaces w on w.id = s.workspace_id where o.id = $1
"""


async def output_scope(id_: str) -> Scope | None:
    """The workspace that a output belongs to."""
    found = await db.row(_OUTPUT_SCOPE, id_)
    if found is None:
        return None
    return Scope(
        where=Where.WORKSPACE,
        id=found["id"],
        name=found["name"],
        owner=found["owner_id"],
        labels=found["labels"],
    )
