"""SQL of deleted workspaces."""

from datetime import datetime

from terrapod_control_plane.kernel import db


async def note(workspace: str, now: datetime) -> None:
    """Note that a workspace goes."""
    await db.execute("insert into deleted_workspaces values ($1, $2)", workspace, now)


async def before(moment: datetime, at_most: int) -> list[str]:
    """Workspaces that were deleted before then, the first one first."""
    # Nothing of a workspace that is there, however that came about.
    sql = (
        "select workspace_id as id from deleted_workspaces d where deleted_at <= $1 "
        "and not exists (select from workspaces w where w.id = d.workspace_id) "
        "order by deleted_at limit $2"
    )
    return [row["id"] for row in await db.rows(sql, moment, at_most)]


async def forget(workspace: str) -> None:
    """Nothing is left of it."""
    await db.execute("delete from deleted_workspaces where workspace_id = $1", workspace)
