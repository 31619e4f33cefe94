"""SQL of sharing."""

from collections.abc import Sequence

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Actor
from terrapod_control_plane.workspaces import visibility
from terrapod_control_plane.workspaces.model import Workspace
from terrapod_control_plane.workspaces.queries import WORKSPACES

_CONSUMERS = "id in (select consumer_id from remote_state_consumers where workspace_id = $1)"


async def page(actor: Actor, workspace: str, paging: Paging) -> Page[Workspace]:
    """Those of a workspace's consumers that somebody sees, by name."""
    seen = visibility.of_workspaces(actor, after=1)
    where, order = f"{_CONSUMERS} and {seen.sql}", 'name collate "C"'
    return await WORKSPACES.page(where, workspace, *seen.args, order=order, paging=paging)


async def consumers(workspace: str) -> list[str]:
    """The ids of all consumers of a workspace."""
    sql = "select consumer_id from remote_state_consumers where workspace_id = $1"
    return [row["consumer_id"] for row in await db.rows(sql, workspace)]


async def add(workspace: str, consumers: Sequence[str]) -> None:
    """Add those that are not there yet."""
    await db.execute(
        "insert into remote_state_consumers (workspace_id, consumer_id) "
        "select $1, new from unnest($2::text[]) as new on conflict do nothing",
        workspace,
        consumers,
    )


async def remove(workspace: str, consumers: Sequence[str]) -> None:
    """Take these away."""
    await db.execute(
        "delete from remote_state_consumers where workspace_id = $1 and consumer_id = any($2)",
        workspace,
        consumers,
    )


_SHARED = """(
    id = $2
    or global_remote_state
    or project_remote_state -- all are in the one project that there is
    or exists (
        select from remote_state_consumers c
        where c.workspace_id = workspaces.id and c.consumer_id = $2
    )
)
"""


async def sharer_by_id(id_: str, reader: str) -> Workspace | None:
    """A workspace, if it shares its state with the reader."""
    return await WORKSPACES.first(f"id = $1 and {_SHARED}", id_, reader)


async def sharer_by_name(name: str, reader: str) -> Workspace | None:
    """A workspace, if it shares its state with the reader."""
    return await WORKSPACES.first(f"name = $1 and {_SHARED}", name, reader)
