"""Use cases of workspaces."""

from collections.abc import Callable, Sequence

from msgspec import structs

from terrapod_control_plane.kernel import db, ids
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, Unprocessable
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.organizations import model as organizations_model
from terrapod_control_plane.workspaces import internal, lifecycle, queries
from terrapod_control_plane.workspaces.actions import (
    WORKSPACE_CREATE,
    WORKSPACE_DELETE,
    WORKSPACE_FORCE_UNLOCK,
    WORKSPACE_LIST,
    WORKSPACE_LOCK,
    WORKSPACE_READ,
    WORKSPACE_SET_VERSION,
    WORKSPACE_UNLOCK,
    WORKSPACE_UPDATE,
)
from terrapod_control_plane.workspaces.events import (
    WorkspaceCreated,
    WorkspaceDeleted,
    WorkspaceLocked,
    WorkspaceUnlocked,
    WorkspaceUpdated,
)
from terrapod_control_plane.workspaces.model import Setup, SetupChange, Tag, Wanted, Workspace


async def create(ctx: Context, organization: str, wanted: SetupChange) -> Workspace:
    """A new workspace, owned by whoever makes it."""
    await ctx.must(WORKSPACE_CREATE)
    organizations_model.must_exist(organization)
    setup = wanted.apply(Setup(name=""))
    lifecycle.valid(setup)
    now = ctx.now()
    made = lifecycle.tagged(
        Workspace(
            **structs.asdict(setup),
            id=ids.new("ws"),
            owner_id=ctx.actor.id,
            created_at=now,
            updated_at=now,
        ),
        wanted.new_tags,
    )
    try:
        async with db.transaction():
            await queries.insert(made)
            await ctx.emit(WorkspaceCreated(workspace=made.id, name=made.name, owner=made.owner_id))
    except (db.Duplicate, db.Missing) as error:
        raise _refusal(error) from error
    return made


def _refusal(error: Exception) -> Conflict | Unprocessable:
    if isinstance(error, db.Duplicate):
        return Conflict("Name has already been taken.", pointer="/data/attributes/name")
    return Unprocessable("There is no such agent pool.", pointer="/data/attributes/agent-pool-id")


async def page(ctx: Context, organization: str, wanted: Wanted, paging: Paging) -> Page[Workspace]:
    """The workspaces that the caller may see."""
    await ctx.must(WORKSPACE_LIST)
    organizations_model.must_exist(organization)
    return await queries.page(ctx.actor, wanted, paging)


async def id_of(ctx: Context, organization: str, name: str) -> str:
    """The id of a visible workspace, else the name, which is nobody's id: a 404 for who uses it."""
    ctx.public("it finds only what the caller may see")
    organizations_model.must_exist(organization)
    found = await queries.id_of(ctx.actor, name)
    # An id is no name: else it would be found after all.
    return found or (name if name and ids.kind(name) != "ws" else "-")


async def show(ctx: Context, id_: str) -> Workspace:
    """A workspace."""
    await ctx.must(WORKSPACE_READ, id_)
    return await internal.get(ctx, id_)


async def update(ctx: Context, id_: str, wanted: SetupChange) -> Workspace:
    """Set up a workspace otherwise; its writers may say which version their state needs."""
    await ctx.must(WORKSPACE_SET_VERSION if wanted.only_version else WORKSPACE_UPDATE, id_)
    return await _change(
        ctx,
        id_,
        lambda old: lifecycle.tagged(
            lifecycle.changed(old, wanted.apply(old), ctx.now()), wanted.new_tags
        ),
    )


async def add_tags(ctx: Context, id_: str, tags: Sequence[Tag]) -> Workspace:
    """Put tags on a workspace, beside those that it has."""
    await ctx.must(WORKSPACE_UPDATE, id_)
    return await _change(ctx, id_, lambda old: lifecycle.tagged(old, tags))


async def remove_tags(ctx: Context, id_: str, keys: Sequence[str]) -> Workspace:
    """Take tags off a workspace."""
    await ctx.must(WORKSPACE_UPDATE, id_)
    return await _change(ctx, id_, lambda old: lifecycle.untagged(old, keys))


async def _change(ctx: Context, id_: str, change: Callable[[Workspace], Workspace]) -> Workspace:
    try:
        async with db.transaction():
            old = await internal.lock_row(ctx, id_)
            new = change(old)
            names = lifecycle.differing(old, new)
            if names:
                queries.save(old, new)
                await ctx.emit(WorkspaceUpdated(workspace=id_, name=new.name, changed=names))
    except (db.Duplicate, db.Missing) as error:
        raise _refusal(error) from error
    return new


async def delete(ctx: Context, id_: str) -> None:
    """Remove a workspace with all that is in it, unless a run has it just now."""
    await ctx.must(WORKSPACE_DELETE, id_)
    async with db.transaction():
        workspace = await internal.lock_row(ctx, id_)
        lifecycle.may_delete(workspace)
        await _delete(ctx, workspace)


async def safe_delete(ctx: Context, id_: str) -> None:
    """Remove a workspace that manages nothing and that nobody works on."""
    await ctx.must(WORKSPACE_DELETE, id_)
    async with db.transaction():
        workspace = await internal.lock_row(ctx, id_)
        lifecycle.safe_to_delete(workspace)
        await _delete(ctx, workspace)


async def _delete(ctx: Context, workspace: Workspace) -> None:
    await ctx.emit(WorkspaceDeleted(workspace=workspace.id, name=workspace.name))
    await queries.delete(workspace.id)


async def lock(ctx: Context, id_: str, reason: str) -> Workspace:
    """Keep a workspace for oneself."""
    await ctx.must(WORKSPACE_LOCK, id_)
    async with db.transaction():
        old = await internal.lock_row(ctx, id_)
        new = lifecycle.locked(old, ctx.actor.id, reason, ctx.now())
        queries.save(old, new)
        await ctx.emit(
            WorkspaceLocked(workspace=id_, name=new.name, by=ctx.actor.id, reason=reason)
        )
    return new


async def unlock(ctx: Context, id_: str) -> Workspace:
    """Give back one's own lock."""
    await ctx.must(WORKSPACE_UNLOCK, id_)
    return await _unlock(ctx, id_, forced=False)


async def force_unlock(ctx: Context, id_: str) -> Workspace:
    """Take away anybody's lock."""
    await ctx.must(WORKSPACE_FORCE_UNLOCK, id_)
    return await _unlock(ctx, id_, forced=True)


async def _unlock(ctx: Context, id_: str, *, forced: bool) -> Workspace:
    async with db.transaction():
        old = await internal.lock_row(ctx, id_)
        new = lifecycle.force_unlocked(old) if forced else lifecycle.unlocked(old, ctx.actor.id)
        queries.save(old, new)
        was = old.locked_by or ""
        await ctx.emit(
            WorkspaceUnlocked(workspace=id_, name=new.name, was_locked_by=was, forced=forced)
        )
    return new
