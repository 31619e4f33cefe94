"""SQL of configuration versions."""

from collections.abc import Sequence

from terrapod_control_plane.configurations.model import Configuration
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
