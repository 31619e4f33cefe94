"""Runs and pools, for other slices and events."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.organizations import internal as organizations
from terrapod_control_plane.runs import internal as runs
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.pools import queries
from terrapod_control_plane.runs.scheduler import internal as scheduler
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.events import WorkspaceUpdated


async def any_open_in(ctx: Context, pool: str) -> bool:
    """Whether a run that is not over counts on the agents of a pool."""
    return await queries.any_open_in(pool)


async def busy_among(ctx: Context, listeners: Sequence[str]) -> set[str]:
    """Those of the agents that carry out a run."""
    return await queries.busy_among(listeners)


async def pool_created(ctx: Context, pool: str) -> None:
    """Runs that no pool could get go to the new default one."""
    for waiting in await queries.without_pool():
        await _move(ctx, waiting, pool, left=None)


async def pool_left(ctx: Context, old: str, new: str) -> None:
    """What is not over in a pool goes to another; what an agent has stays with it."""
    for waiting in await queries.open_in(old):
        await _move(ctx, waiting, new, left=old)


async def workspace_updated(ctx: Context, event: WorkspaceUpdated) -> None:
    """Runs that wait move with their workspace to another pool."""
    if "agent_pool_id" in event.changed:
        workspace = await workspaces.get(ctx, event.workspace)
        pool = workspace.agent_pool_id or await organizations.default_pool(ctx)
        for waiting in await queries.open_of(event.workspace):
            await _move(ctx, waiting, pool)


async def _move(
    ctx: Context, id_: str, pool: str | None, *, left: str | UnsetType | None = UNSET
) -> None:
    run = await runs.locked(ctx, id_)
    if not run.final and run.pool_id != pool and left in (UNSET, run.pool_id):
        moved = [
            msgspec.structs.replace(phase, pool_id=pool)
            for phase in await runs_queries.waiting(run.id)
        ]
        await scheduler.store(ctx, msgspec.structs.replace(run, pool_id=pool), *moved, pool=pool)
