"""SQL of sharing."""

from collections.abc import Sequence

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Visibility
from terrapod_control_plane.workspaces.model import Workspace

_CONSUMERS = """
from workspaces w join remote_state_consumers c on c.consumer_id = w.id
where c.workspace_id = $1 and ($2 or w.owner_id = $3)
"""


async def page(visibility: Visibility, workspace: str, paging: Paging) -> Page[Workspace]:
    """Those of a workspace's consumers that somebody may see, by name."""
    args = (workspace, visibility.everything, visibility.owner)
    total = await db.value(f"select count(*) {_CONSUMERS}", *args)
    found = await db.many(
        Workspace,
        f'select w.* {_CONSUMERS} order by w.name collate "C" limit $4 offset $5',
        *args,
        paging.size,
        paging.offset,
    )
    return Page(found, paging, total)


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


_SHARER = """
select w.* from workspaces w where {found} = $1 and (
    w.id = $2
    or w.global_remote_state
    or w.project_remote_state -- all are in the one project that there is
    or exists (
        select from remote_state_consumers c where c.workspace_id = w.id and c.consumer_id = $2
    )
)
"""
_BY_ID, _BY_NAME = _SHARER.format(found="w.id"), _SHARER.format(found="w.name")


async def sharer_by_id(id_: str, reader: str) -> Workspace | None:
    """A workspace, if it shares its state with the reader."""
    return await db.one(Workspace, _BY_ID, id_, reader)


async def sharer_by_name(name: str, reader: str) -> Workspace | None:
    """A workspace, if it shares its state with the reader."""
    return await db.one(Workspace, _BY_NAME, name, reader)
