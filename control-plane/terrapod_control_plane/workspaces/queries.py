"""SQL of workspaces."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from terrapod_control_plane.kernel import db, unit_of_work
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Actor, Scope, Where
from terrapod_control_plane.kernel.repository import Repository
from terrapod_control_plane.workspaces import visibility
from terrapod_control_plane.workspaces.model import Wanted, Workspace
from terrapod_control_plane.workspaces.tables import Workspaces

# The weaker lock, so that runs and states can be made that name the workspace.
WORKSPACES = Repository(Workspaces, Workspace, locking="for no key update")


_SCOPE = "select id, name, owner_id, labels from workspaces where id = "


async def scope(id_: str) -> Scope | None:
    """What permission on a workspace is asked on."""
    return await _scope(f"{_SCOPE} $1", id_)


async def scope_of(belongs: str, id_: str) -> Scope | None:
    """The same of the workspace that a query finds by the id of what belongs to it."""
    return await _scope(f"{_SCOPE} ({belongs})", id_)


async def _scope(sql: str, id_: str) -> Scope | None:
    found = await db.row(sql, id_)
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
    return await unit_of_work.get(WORKSPACES, id_)


async def lock(id_: str) -> Workspace | None:
    """A workspace that nobody else changes until the end of the transaction."""
    return await unit_of_work.lock(WORKSPACES, id_)


def save(old: Workspace, new: Workspace) -> None:
    """Write what differs of a locked workspace, at the end of the transaction."""
    unit_of_work.save(WORKSPACES, old, new)


async def id_of(actor: Actor, name: str) -> str | None:
    """The id of a workspace that somebody sees."""
    seen = visibility.of_workspaces(actor, after=1)
    sql = f"select id from workspaces where name = $1 and {seen.sql}"
    found: str | None = await db.value(sql, name, *seen.args)
    return found


async def many(actor: Actor, ids: Sequence[str]) -> list[Workspace]:
    """Those of the workspaces that somebody sees."""
    seen = visibility.of_workspaces(actor, after=1)
    return await WORKSPACES.where(f"id = any($1) and {seen.sql}", ids, *seen.args)


async def visible(actor: Actor, ids: Sequence[str]) -> list[str]:
    """The ids of those of the workspaces that somebody sees."""
    seen = visibility.of_workspaces(actor, after=1)
    sql = f"select id from workspaces where id = any($1) and {seen.sql}"
    return [row["id"] for row in await db.rows(sql, ids, *seen.args)]


async def page(actor: Actor, wanted: Wanted, paging: Paging) -> Page[Workspace]:
    """One page of the workspaces that somebody sees."""
    asked = list(_asked(wanted))
    conditions = [condition.format(f"${n}") for n, (condition, _) in enumerate(asked, 1)]
    seen = visibility.of_workspaces(actor, after=len(asked))
    args = [*(value for _, value in asked), *seen.args]
    order = f'name collate "C"{" desc" if wanted.descending else ""}'
    where = " and ".join([*conditions, seen.sql])
    return await WORKSPACES.page(where, *args, order=order, paging=paging)


def _asked(wanted: Wanted) -> Iterator[tuple[str, object]]:
    """What narrows a list, and no more: to count all is quick as long as nothing does."""
    keys = [*wanted.tags, *(tag.key for tag in wanted.tagged)]
    values = {tag.key: tag.value for tag in wanted.tagged if tag.value}
    if wanted.name:
        yield "strpos(lower(name), lower({})) > 0", wanted.name
    if wanted.wildcard:
        yield "name like {}", _pattern(wanted.wildcard)
    if keys:
        yield "tag_bindings ?& {}::text[]", keys
    if wanted.without_tags:
        yield "not tag_bindings ?| {}::text[]", wanted.without_tags
    if values:
        yield "tag_bindings @> {}::jsonb", db.encode(values)


def _pattern(wildcard: str) -> str:
    """A name with stars as a pattern of SQL."""
    for special in "\\%_":
        wildcard = wildcard.replace(special, f"\\{special}")
    return wildcard.replace("*", "%")


async def insert(new: Workspace) -> None:
    """Store a workspace."""
    await unit_of_work.insert(WORKSPACES, new)


async def delete(id_: str) -> None:
    """Remove a workspace and all that is in it, however much that is."""
    await db.execute_at_length("delete from workspaces where id = $1", id_)
    unit_of_work.forget()


async def lock_of_pool(pool: str) -> list[Workspace]:
    """The workspaces that name a pool, which nobody else changes until the transaction ends."""
    where = "agent_pool_id = $1 order by id for no key update"
    return await WORKSPACES.where(where, pool)


async def move_pool(old: str, new: str, now: datetime) -> None:
    """Let them name another one."""
    sql = "update workspaces set agent_pool_id = $2, updated_at = $3 where agent_pool_id = $1"
    await db.execute(sql, old, new, now)
