"""SQL of configuration versions."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.configurations.model import Aged, Configuration
from terrapod_control_plane.configurations.tables import ConfigurationVersions
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging


async def workspace_of(id_: str) -> str | None:
    """The workspace that a configuration belongs to."""
    found: str | None = await db.value(
        "select workspace_id from configuration_versions where id = $1", id_
    )
    return found


async def get(id_: str) -> Configuration | None:
    """A configuration by id."""
    return await db.one(Configuration, "select * from configuration_versions where id = $1", id_)


async def lock(id_: str) -> Configuration | None:
    """A configuration by id, locked until the end of the transaction."""
    sql = "select * from configuration_versions where id = $1 for update"
    return await db.one(Configuration, sql, id_)


async def many(ids: Sequence[str]) -> list[Configuration]:
    """Configurations by their ids."""
    sql = "select * from configuration_versions where id = any($1)"
    return await db.many(Configuration, sql, ids)


async def of_workspace(workspace: str, paging: Paging) -> Page[Configuration]:
    """The configurations of a workspace, newest first."""
    where = "from configuration_versions where workspace_id = $1"
    total = await db.value(f"select count(*) {where}", workspace)
    sql = f"select * {where} order by created_at desc, id limit $2 offset $3"
    found = await db.many(Configuration, sql, workspace, paging.size, paging.offset)
    return Page(found, paging, total)


_LATEST = """
select * from configuration_versions
where workspace_id = $1 and status = 'uploaded' and not speculative and not provisional
order by created_at desc, id limit 1
"""


async def latest_uploaded(workspace: str) -> Configuration | None:
    """The newest configuration of a workspace that can be applied."""
    return await db.one(Configuration, _LATEST, workspace)


_AGED = """
select v.*, exists (
    select from configuration_versions n
    where n.workspace_id = v.workspace_id and n.status = 'uploaded'
      and (n.created_at > v.created_at or n.created_at = v.created_at and n.id < v.id)
      and (v.speculative or v.provisional or not (n.speculative or n.provisional))
) as superseded
from (
    select * from configuration_versions
    where status = 'uploaded' and created_at < $1 and (created_at, id) > ($2, $3)
    order by created_at, id limit $4
) v order by created_at, id
"""


async def aged(before: datetime, after: tuple[datetime, str], at_most: int) -> list[Aged]:
    """Those that were made before then, the first one first, behind the one that is named."""
    return await db.many(Aged, _AGED, before, *after, at_most)


async def insert(new: Configuration) -> None:
    """Store a configuration."""
    await db.insert(ConfigurationVersions, new)


async def save(changed: Configuration) -> None:
    """Write what an upload changes."""
    await db.update(
        ConfigurationVersions,
        changed,
        "status",
        "error_message",
        "status_timestamps",
        "size",
        "digest",
    )
