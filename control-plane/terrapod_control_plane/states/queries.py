"""SQL of state versions and of their excerpts."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db, unit_of_work
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Actor
from terrapod_control_plane.kernel.repository import Repository
from terrapod_control_plane.states.model import Excerpt, ExcerptOf, StateVersion
from terrapod_control_plane.states.tables import StateVersions
from terrapod_control_plane.workspaces import visibility

STATES = Repository(StateVersions, StateVersion, beside=["number"])


# The workspace of a version, for whoever knows what may be done there.
WORKSPACE_OF = "select workspace_id from state_versions where id = $1"


async def get(id_: str) -> StateVersion | None:
    """A version by id."""
    return await unit_of_work.get(STATES, id_)


async def locked(id_: str) -> StateVersion | None:
    """A version, locked until the end of the transaction; its workspace is locked before it."""
    return await unit_of_work.lock(STATES, id_)


async def visible(actor: Actor, ids: Sequence[str]) -> list[StateVersion]:
    """Those of the versions that somebody sees."""
    seen = visibility.of_column(actor, "workspace_id", after=1)
    return await STATES.where(f"id = any($1) and {seen.sql}", ids, *seen.args)


async def page(workspace: str, paging: Paging) -> Page[StateVersion]:
    """The versions of a workspace, newest first."""
    where = "workspace_id = $1 and status <> 'discarded'"
    return await STATES.page(where, workspace, order="number desc", paging=paging)


async def insert(new: StateVersion) -> None:
    """Store a version."""
    await unit_of_work.insert(STATES, new)


async def update(changed: StateVersion) -> None:
    """Write what differs of a version, at the end of the transaction."""
    if (locked_ := await locked(changed.id)) is not None:
        unit_of_work.save(STATES, locked_, changed)


_DISCARD = f"""
update state_versions set status = 'discarded'
where status = 'pending' and created_at < $1
returning {STATES.columns}
"""


async def discard_pending(before: datetime) -> list[StateVersion]:
    """Give up versions whose content never came."""
    return await STATES.all(_DISCARD, before)


_INSERT_EXCERPTS = """
insert into state_excerpts (state_version_id, kind, first, count, sealed)
select $1, * from unnest($2::text[], $3::integer[], $4::integer[], $5::bytea[])
on conflict do nothing
"""


async def insert_excerpts(
    version: str, excerpts: Sequence[Excerpt], sealed: Sequence[bytes]
) -> None:
    """Store excerpts of a version; the same that came before with the same content stay."""
    await db.execute(
        _INSERT_EXCERPTS,
        version,
        [one.kind for one in excerpts],
        [one.first for one in excerpts],
        [one.count for one in excerpts],
        sealed,
    )


async def forget_excerpts(versions: Sequence[str]) -> None:
    """Remove what is known of contents that are not there any more."""
    await db.execute("delete from state_excerpts where state_version_id = any($1)", versions)


_FEW_RESOURCES = """
select state_version_id, kind, first, count, sealed as content from state_excerpts e
where state_version_id = any($1) and kind = 'resources'
  and ($2::integer is null or octet_length(sealed) <= $2 and not exists (
    select from state_excerpts more where more.state_version_id = e.state_version_id
        and more.kind = 'resources' and more.first <> e.first))
order by state_version_id, first
"""


async def resources(versions: Sequence[str], bytes_at_most: int | None) -> list[ExcerptOf]:
    """The resources of versions; those of large ones are left out where there is a limit."""
    return await db.many(ExcerptOf, _FEW_RESOURCES, versions, bytes_at_most)


async def set_output_count(version: str, count: int) -> None:
    """Note how many outputs a version has."""
    await db.execute("update state_versions set output_count = $2 where id = $1", version, count)
