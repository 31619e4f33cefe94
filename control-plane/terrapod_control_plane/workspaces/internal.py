"""Workspaces, for other slices and jobs."""

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, NotFound
from terrapod_control_plane.kernel.policy import Scope
from terrapod_control_plane.workspaces import lifecycle, queries
from terrapod_control_plane.workspaces.events import WorkspaceUpdated
from terrapod_control_plane.workspaces.model import Hold, Workspace


async def scope(id_: str) -> Scope | None:
    """What permission is asked on, for whatever belongs to a workspace."""
    return await queries.scope(id_)


async def scope_of(belongs: str, id_: str) -> Scope | None:
    """The same by the id of what belongs to a workspace: ``belongs`` is SQL that finds whose it is.

    It takes the id as its parameter, and is a text of the slice that it is of.
    """
    return await queries.scope_of(belongs, id_)


async def get(ctx: Context, id_: str) -> Workspace:
    """A workspace."""
    found = await queries.get(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


async def lock_row(ctx: Context, id_: str) -> Workspace:
    """A workspace that nobody else changes until the end of the transaction."""
    found = await queries.lock(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


async def many(ctx: Context, wanted: Sequence[str]) -> list[Workspace]:
    """Those of the workspaces that the caller may see."""
    return await queries.many(ctx.actor, wanted)


async def visible(ctx: Context, wanted: Sequence[str]) -> list[str]:
    """The ids of those of the workspaces that the caller may see."""
    return await queries.visible(ctx.actor, wanted)


async def set_current_run(ctx: Context, id_: str, run: str | None) -> None:
    """Which run is the workspace's present one."""
    await _set(ctx, id_, current_run_id=run)


async def set_held_by_run(ctx: Context, id_: str, run: str | None) -> None:
    """Which run has the workspace for itself."""
    await _set(ctx, id_, held_by_run_id=run)


async def set_hold(ctx: Context, id_: str, hold: Hold) -> None:
    """Nothing may be applied until a person has looked."""
    await _set(ctx, id_, hold_run_id=hold.run, hold_reason=hold.reason, hold_since=hold.since)


async def clear_hold(ctx: Context, id_: str) -> None:
    """Runs may be applied again."""
    ended = {"hold_run_id": None, "hold_reason": "", "hold_since": None}
    await _set(ctx, id_, **ended, hold_ended_at=ctx.now())


async def set_current_state(ctx: Context, id_: str, version: str, resource_count: int) -> None:
    """Which state is the present one, and how much it manages."""
    await _set(ctx, id_, current_state_version_id=version, resource_count=resource_count)


async def set_current_configuration(ctx: Context, id_: str, version: str) -> None:
    """Which configuration is the present one."""
    await _set(ctx, id_, current_configuration_version_id=version)


async def count_run(ctx: Context, id_: str) -> None:
    """One more run was made."""
    workspace = await lock_row(ctx, id_)
    queries.save(workspace, structs.replace(workspace, runs_count=workspace.runs_count + 1))


async def _set(ctx: Context, id_: str, **facts: Any) -> None:
    workspace = await lock_row(ctx, id_)
    queries.save(workspace, structs.replace(workspace, **facts))


_CHANGED = ["agent_pool_id", "updated_at"]


async def leave_pool(ctx: Context, old: str, new: str | None) -> None:
    """Workspaces that name a pool name another one; refused when there is none and they do."""
    found = await queries.lock_of_pool(old)
    if not found:
        return
    if new is None:
        raise Conflict(lifecycle.named_by(found))
    await queries.move_pool(old, new, ctx.now())
    for moved in found:
        await ctx.emit(WorkspaceUpdated(workspace=moved.id, name=moved.name, changed=_CHANGED))
