"""SQL of deleted workspaces."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db


async def note(workspace: str, now: datetime) -> None:
    """Note that a workspace goes."""
    await db.execute("insert into deleted_workspaces values ($1, $2)", workspace, now)


async def before(moment: datetime, at_most: int) -> list[str]:
    """Workspaces that were deleted before then, the first one first."""
    # Nothing of a workspace that is there, however that came about.
    sql = (
        "select workspace_id as id from deleted_workspaces d where cleaned_at is null "
        "and deleted_at <= $1 "
        "and not exists (select from workspaces w where w.id = d.workspace_id) "
        "order by deleted_at limit $2"
    )
    return [row["id"] for row in await db.rows(sql, moment, at_most)]


async def cleaned(workspace: str, now: datetime) -> None:
    """Nothing is left of it but this row."""
    sql = "update deleted_workspaces set cleaned_at = $2 where workspace_id = $1"
    await db.execute(sql, workspace, now)


async def among(workspaces: Sequence[str]) -> set[str]:
    """Those of the workspaces that were deleted, however long ago."""
    sql = "select workspace_id as id from deleted_workspaces where workspace_id = any($1)"
    return {row["id"] for row in await db.rows(sql, workspaces)}
