"""SQL of workspaces."""

from collections.abc import Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Scope, Visibility, Where
from terrapod_control_plane.workspaces.model import Wanted, Workspace
from terrapod_control_plane.workspaces.tables import Workspaces


async def scope(id_: str) -> Scope | None:
    """What permission on a workspace is asked on."""
    found = await db.row("select id, name, owner_id, labels from workspaces where id = $1", id_)
    if found is None:
        return None
    return Scope(
        where=Where.WORKSPACE,
        id=found["id"],
        name=found["name"],
        owner=found["owner_id"],
        labels=found["labels"],
    )


async def get(id_: str) -> Workspace | None:
    """A workspace by id."""
    return await db.one(Workspace, "select * from workspaces where id = $1", id_)


async def lock(id_: str) -> Workspace | None:
    """A workspace that nobody else changes until the end of the transaction."""
    return await db.one(Workspace, "select * from workspaces where id = $1 for no key update", id_)


async def id_of(visibility: Visibility, name: str) -> str | None:
    """The id of a visible workspace."""
    found: str | None = await db.value(
        "select id from workspaces where name = $1 and ($2 or owner_id = $3)",
        name,
        visibility.everything,
        visibility.owner,
    )
    return found


async def many(visibility: Visibility, ids: Sequence[str]) -> list[Workspace]:
    """The visible ones of these workspaces."""
    return await db.many(
        Workspace,
        "select * from workspaces where id = any($1) and ($2 or owner_id = $3)",
        ids,
        visibility.everything,
        visibility.owner,
    )


async def visible(visibility: Visibility, ids: Sequence[str]) -> list[str]:
    """The ids of the visible ones of these workspaces."""
    sql = "select id from workspaces where id = any($1) and ($2 or owner_id = $3)"
    return [row["id"] for row in await db.rows(sql, ids, visibility.everything, visibility.owner)]


_LISTED = """
from workspaces
where ($1 or owner_id = $2)
  and ($3 = '' or strpos(lower(name), lower($3)) > 0)
  and ($4 = '' or name like $4)
  and tag_bindings ?& $5::text[]
  and not tag_bindings ?| $6::text[]
  and tag_bindings @> $7::jsonb
"""
_ORDER = {
    False: """order by name collate "C" limit $8 offset $9""",
    True: """order by name collate "C" desc limit $8 offset $9""",
}


async def page(visibility: Visibility, wanted: Wanted, paging: Paging) -> Page[Workspace]:
    """One page of the visible workspaces."""
    args = [
        visibility.everything,
        visibility.owner,
        wanted.name,
        _pattern(wanted.wildcard),
        [*wanted.tags, *(tag.key for tag in wanted.tagged)],
        wanted.without_tags,
        db.encode({tag.key: tag.value for tag in wanted.tagged if tag.value}),
    ]
    total = await db.value(f"select count(*) {_LISTED}", *args)
    found = await db.many(
        Workspace,
        f"select * {_LISTED} {_ORDER[wanted.descending]}",
        *args,
        paging.size,
        paging.offset,
    )
    return Page(found, paging, total)


def _pattern(wildcard: str) -> str:
    """A name with stars as a pattern of SQL."""
    for special in "\\%_":
        wildcard = wildcard.replace(special, f"\\{special}")
    return wildcard.replace("*", "%")


async def insert(new: Workspace) -> None:
    """Store a workspace."""
    await db.insert(Workspaces, new)


async def update(changed: Workspace, *names: str) -> None:
    """Write the named fields of a workspace."""
    await db.update(Workspaces, changed, *names)


async def delete(id_: str) -> None:
    """Remove a workspace and all that is in it, however much that is."""
    await db.execute_at_length("delete from workspaces where id = $1", id_)


async def count_run(id_: str) -> None:
    """One more run was made."""
    await db.execute("update workspaces set runs_count = runs_count + 1 where id = $1", id_)


async def lock_of_pool(pool: str) -> list[Workspace]:
    """The workspaces that name a pool, which nobody else changes until the transaction ends."""
    sql = "select * from workspaces where agent_pool_id = $1 order by id for no key update"
    return await db.many(Workspace, sql, pool)


async def move_pool(old: str, new: str, now: datetime) -> None:
    """Let them name another one."""
    sql = "update workspaces set agent_pool_id = $2, updated_at = $3 where agent_pool_id = $1"
    await db.execute(sql, old, new, now)
