"""SQL of configuration versions."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.configurations.model import Aged, Configuration
from terrapod_control_plane.configurations.tables import ConfigurationVersions
from terrapod_control_plane.kernel import db, unit_of_work
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Actor
from terrapod_control_plane.kernel.repository import Repository
from terrapod_control_plane.workspaces import visibility

CONFIGURATIONS = Repository(ConfigurationVersions, Configuration)


# The workspace of a configuration, for whoever knows what may be done there.
WORKSPACE_OF = "select workspace_id from configuration_versions where id = $1"


async def get(id_: str) -> Configuration | None:
    """A configuration by id."""
    return await unit_of_work.get(CONFIGURATIONS, id_)


async def lock(id_: str) -> Configuration | None:
    """A configuration by id, locked until the end of the transaction."""
    return await unit_of_work.lock(CONFIGURATIONS, id_)


async def visible(actor: Actor, ids: Sequence[str]) -> list[Configuration]:
    """Those of the configurations that somebody sees."""
    seen = visibility.of_column(actor, "workspace_id", after=1)
    return await CONFIGURATIONS.where(f"id = any($1) and {seen.sql}", ids, *seen.args)


async def of_workspace(workspace: str, paging: Paging) -> Page[Configuration]:
    """The configurations of a workspace, newest first."""
    order = "created_at desc, id"
    return await CONFIGURATIONS.page("workspace_id = $1", workspace, order=order, paging=paging)


_LATEST = """
workspace_id = $1 and status = 'uploaded' and not speculative and not provisional
order by created_at desc, id limit 1
"""


async def latest_uploaded(workspace: str) -> Configuration | None:
    """The newest configuration of a workspace that can be applied."""
    return await CONFIGURATIONS.first(_LATEST, workspace)


_AGED = f"""
select {CONFIGURATIONS.columns}, exists (
    select from configuration_versions n
    where n.workspace_id = v.workspace_id and n.status = 'uploaded'
      and (n.created_at > v.created_at or n.created_at = v.created_at and n.id < v.id)
      and (v.speculative or v.provisional or not (n.speculative or n.provisional))
) as superseded
from (
    select {CONFIGURATIONS.columns} from configuration_versions
    where status = 'uploaded' and created_at < $1 and (created_at, id) > ($2, $3)
    order by created_at, id limit $4
) v order by created_at, id
"""


async def aged(before: datetime, after: tuple[datetime, str], at_most: int) -> list[Aged]:
    """Those that were made before then, the first one first, behind the one that is named."""
    return await db.many(Aged, _AGED, before, *after, at_most)


async def insert(new: Configuration) -> None:
    """Store a configuration."""
    await CONFIGURATIONS.insert(new)


async def save(changed: Configuration) -> None:
    """Write what differs of a locked configuration, at the end of the transaction."""
    if (locked := await lock(changed.id)) is not None:
        unit_of_work.save(CONFIGURATIONS, locked, changed)
