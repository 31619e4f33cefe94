"""SQL of state versions and of their excerpts."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.states.model import Excerpt, ExcerptOf, StateVersion
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
