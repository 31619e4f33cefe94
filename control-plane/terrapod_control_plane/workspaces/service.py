"""Use cases of workspaces."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET, structs

from terrapod_control_plane.kernel import db, ids
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.errors import Conflict, NotFound, Unprocessable
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Action, Scope
from terrapod_control_plane.organizations import service as organizations
from terrapod_control_plane.workspaces import lifecycle, model, queries
from terrapod_control_plane.workspaces.events import (
    WorkspaceCreated,
    WorkspaceDeleted,
    WorkspaceLocked,
    WorkspaceUnlocked,
    WorkspaceUpdated,
)
from terrapod_control_plane.workspaces.model import LATEST, Hold, Setup, Tag, Wanted
from terrapod_control_plane.workspaces.schema import Settings, WorkspaceDoc, shown

Workspace = model.Workspace  # for the slices above

_LOCK = ("locked_by", "lock_reason", "locked_at")


async def create(ctx: Context, organization: str, wanted: Settings) -> Workspace:
    """A new workspace, owned by whoever makes it."""
    await ctx.must(Action.WORKSPACE_CREATE)
    organizations.exists(organization)
    setup = _setup(Setup(name=""), wanted)
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


def _setup(old: Setup, wanted: Settings) -> Setup:
    """A setup with what was asked for; null means what it is by itself."""
    given: dict[str, Any] = wanted.given()
    if wanted.operations is not UNSET and wanted.execution_mode is UNSET:
        given["execution_mode"] = "remote" if wanted.operations else "local"
    if wanted.working_directory is UNSET and wanted.vcs_working_directory is not UNSET:
        given["working_directory"] = wanted.vcs_working_directory
    if not given.get("terraform_version", LATEST):
        given["terraform_version"] = LATEST
    fresh = Setup(name=old.name)
    return structs.replace(
        old,
        **{
            name: getattr(fresh, name) if given[name] is None else given[name]
            for name in Setup.__struct_fields__
            if name in given and name != "tag_bindings"
        },
    )


def _refusal(error: Exception) -> Conflict | Unprocessable:
    if isinstance(error, db.Duplicate):
        return Conflict("Name has already been taken.", pointer="/data/attributes/name")
    return Unprocessable("There is no such agent pool.", pointer="/data/attributes/agent-pool-id")


async def page(ctx: Context, organization: str, wanted: Wanted, paging: Paging) -> Page[Workspace]:
    """The workspaces that the caller may see."""
    await ctx.must(Action.WORKSPACE_LIST)
    organizations.exists(organization)
    return await queries.page(ctx.actor.visibility, wanted, paging)


@internal
async def id_of(ctx: Context, organization: str, name: str) -> str:
    """The id of a visible workspace, else the name, which is nobody's id: a 404 for who uses it."""
    organizations.exists(organization)
    found = await queries.id_of(ctx.actor.visibility, name)
    # An id is no name: else it would be found after all.
    return found or (name if name and ids.kind(name) != "ws" else "-")


async def show(ctx: Context, id_: str) -> Workspace:
    """A workspace."""
    await ctx.must(Action.WORKSPACE_READ, id_)
    return await get(ctx, id_)


async def update(ctx: Context, id_: str, wanted: Settings) -> Workspace:
    """Set up a workspace otherwise; its writers may say which version their state needs."""
    await ctx.must(
        Action.WORKSPACE_SET_VERSION if wanted.only_version else Action.WORKSPACE_UPDATE, id_
    )
    return await _change(
        ctx,
        id_,
        lambda old: lifecycle.tagged(
            lifecycle.changed(old, _setup(old, wanted), ctx.now()), wanted.new_tags
        ),
    )


async def add_tags(ctx: Context, id_: str, tags: Sequence[Tag]) -> Workspace:
    """Put tags on a workspace, beside those that it has."""
    await ctx.must(Action.WORKSPACE_UPDATE, id_)
    return await _change(ctx, id_, lambda old: lifecycle.tagged(old, tags))


async def remove_tags(ctx: Context, id_: str, keys: Sequence[str]) -> Workspace:
    """Take tags off a workspace."""
    await ctx.must(Action.WORKSPACE_UPDATE, id_)
    return await _change(ctx, id_, lambda old: lifecycle.untagged(old, keys))


async def _change(ctx: Context, id_: str, change: Callable[[Workspace], Workspace]) -> Workspace:
    try:
        async with db.transaction():
            old = await lock_row(ctx, id_)
            new = change(old)
            names = lifecycle.differing(old, new)
            if names:
                await queries.update(new, *names)
                await ctx.emit(WorkspaceUpdated(workspace=id_, name=new.name, changed=names))
    except (db.Duplicate, db.Missing) as error:
        raise _refusal(error) from error
    return new


async def delete(ctx: Context, id_: str) -> None:
    """Remove a workspace with all that is in it, unless a run has it just now."""
    await ctx.must(Action.WORKSPACE_DELETE, id_)
    async with db.transaction():
        workspace = await lock_row(ctx, id_)
        lifecycle.may_delete(workspace)
        await _delete(ctx, workspace)


async def safe_delete(ctx: Context, id_: str) -> None:
    """Remove a workspace that manages nothing and that nobody works on."""
    await ctx.must(Action.WORKSPACE_DELETE, id_)
    async with db.transaction():
        workspace = await lock_row(ctx, id_)
        lifecycle.safe_to_delete(workspace)
        await _delete(ctx, workspace)


async def _delete(ctx: Context, workspace: Workspace) -> None:
    await ctx.emit(WorkspaceDeleted(workspace=workspace.id, name=workspace.name))
    await queries.delete(workspace.id)


async def lock(ctx: Context, id_: str, reason: str) -> Workspace:
    """Keep a workspace for oneself."""
    await ctx.must(Action.WORKSPACE_LOCK, id_)
    async with db.transaction():
        new = lifecycle.locked(await lock_row(ctx, id_), ctx.actor.id, reason, ctx.now())
        await queries.update(new, *_LOCK)
        await ctx.emit(
            WorkspaceLocked(workspace=id_, name=new.name, by=ctx.actor.id, reason=reason)
        )
    return new


async def unlock(ctx: Context, id_: str) -> Workspace:
    """Give back one's own lock."""
    await ctx.must(Action.WORKSPACE_UNLOCK, id_)
    return await _unlock(ctx, id_, forced=False)


async def force_unlock(ctx: Context, id_: str) -> Workspace:
    """Take away anybody's lock."""
    await ctx.must(Action.WORKSPACE_FORCE_UNLOCK, id_)
    return await _unlock(ctx, id_, forced=True)


async def _unlock(ctx: Context, id_: str, *, forced: bool) -> Workspace:
    async with db.transaction():
        old = await lock_row(ctx, id_)
        new = lifecycle.force_unlocked(old) if forced else lifecycle.unlocked(old, ctx.actor.id)
        await queries.update(new, *_LOCK)
        was = old.locked_by or ""
        await ctx.emit(
            WorkspaceUnlocked(workspace=id_, name=new.name, was_locked_by=was, forced=forced)
        )
    return new


# --- for the slices above, which have asked for permission ----------------------------------------


@internal
async def scope(id_: str) -> Scope | None:
    """What permission is asked on, for whatever belongs to a workspace."""
    return await queries.scope(id_)


@internal
async def get(ctx: Context, id_: str) -> Workspace:
    """A workspace."""
    found = await queries.get(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


@internal
async def lock_row(ctx: Context, id_: str) -> Workspace:
    """A workspace that nobody else changes until the end of the transaction."""
    found = await queries.lock(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


@internal
async def many(ctx: Context, wanted: Sequence[str]) -> list[Workspace]:
    """Those of the workspaces that the caller may see."""
    return await queries.many(ctx.actor.visibility, wanted)


@internal
async def visible(ctx: Context, wanted: Sequence[str]) -> list[str]:
    """The ids of those of the workspaces that the caller may see."""
    return await queries.visible(ctx.actor.visibility, wanted)


@internal
def doc_of(ctx: Context, workspace: Workspace) -> WorkspaceDoc:
    """The workspace as the caller is shown it."""
    return shown(workspace, ctx.actor)


@internal
async def docs(ctx: Context, wanted: Sequence[str]) -> list[WorkspaceDoc]:
    """What `?include=` shows of the workspaces that the caller may see."""
    return [shown(found, ctx.actor) for found in await many(ctx, wanted)]


@internal
async def set_current_run(ctx: Context, id_: str, run: str | None) -> None:
    """Which run is the workspace's present one."""
    await _set(ctx, id_, current_run_id=run)


@internal
async def set_held_by_run(ctx: Context, id_: str, run: str | None) -> None:
    """Which run has the workspace for itself."""
    await _set(ctx, id_, held_by_run_id=run)


@internal
async def set_hold(ctx: Context, id_: str, hold: Hold) -> None:
    """Nothing may be applied until a person has looked."""
    await _set(ctx, id_, hold_run_id=hold.run, hold_reason=hold.reason, hold_since=hold.since)


@internal
async def clear_hold(ctx: Context, id_: str) -> None:
    """Runs may be applied again."""
    ended = {"hold_run_id": None, "hold_reason": "", "hold_since": None}
    await _set(ctx, id_, **ended, hold_ended_at=ctx.now())


@internal
async def set_current_state(ctx: Context, id_: str, version: str, resource_count: int) -> None:
    """Which state is the present one, and how much it manages."""
    await _set(ctx, id_, current_state_version_id=version, resource_count=resource_count)


@internal
async def set_current_configuration(ctx: Context, id_: str, version: str) -> None:
    """Which configuration is the present one."""
    await _set(ctx, id_, current_configuration_version_id=version)


@internal
async def count_run(ctx: Context, id_: str) -> None:
    """One more run was made."""
    await queries.count_run(id_)


async def _set(ctx: Context, id_: str, **facts: Any) -> None:
    changed = structs.replace(await get(ctx, id_), **facts)
    await queries.update(changed, *facts)
