"""SQL of workspaces that name a pool."""

from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.workspaces.model import Workspace


async def lock(pool: str) -> list[Workspace]:
    """The workspaces that name a pool, which nobody else changes until the transaction ends."""
    sql = "select * from workspaces where agent_pool_id = $1 order by id for no key update"
    return await db.many(Workspace, sql, pool)


async def move(old: str, new: str, now: datetime) -> None:
    """Let them name another one."""
    sql = "update workspaces set agent_pool_id = $2, updated_at = $3 where agent_pool_id = $1"
    await db.execute(sql, old, new, now)
