"""Whose turn it is in a workspace, decided under the workspace's row lock."""

from collections.abc import Sequence
from functools import partial

import structlog

from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.runs import lifecycle
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.events import RunChanged
from terrapod_control_plane.runs.model import Phase, Run, Status
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.model import Workspace

log = structlog.get_logger()


async def advance(ctx: Context, workspace_id: str, *, current: Run | None = None) -> None:
    """Let the workspace's runs go as far as they may; safe to call at any time.

    Who knows which run has the workspace says so.
    """
    workspace = await workspaces.lock_row(ctx, workspace_id)
    if workspace.locked_by is not None:
        return
    current = current or await runs_queries.current(workspace_id)
    if current is None:
        waiting = await runs_queries.next_waiting(workspace_id)
        if waiting is not None and await epochs.paused() is None:
            await enqueue_plan(ctx, waiting)
    elif current.status in (Status.PLANNED, Status.CONFIRMED):
        reason = stale(current, workspace)
        if reason is not None:
            await finish(ctx, lifecycle.discard(current, ctx.now(), reason=reason))
        elif (
            current.status is Status.CONFIRMED
            and workspace.hold_run_id is None
            and await epochs.paused() is None
        ):
            await enqueue_apply(ctx, current)


def stale(run: Run, workspace: Workspace) -> str | None:
    """Why the plan of a run does not fit its workspace any more, if so."""
    return lifecycle.stale(run, workspace.current_state_version_id, workspace.hold_ended_at)


async def enqueue_plan(ctx: Context, run: Run) -> Run:
    """Hand a run's plan to the agents."""
    now = ctx.now()
    run = lifecycle.take_turn(run, now)
    plan = lifecycle.phase_queued(await phase(run.plan_id), run, now)
    return await store(ctx, run, plan, pool=run.pool_id)


async def enqueue_apply(ctx: Context, run: Run) -> Run:
    """Hand the apply of a confirmed run to the agents."""
    now = ctx.now()
    run = lifecycle.moved(run, Status.APPLY_QUEUED, now)
    apply = lifecycle.phase_queued(await phase(run.apply_id), run, now)
    return await store(ctx, run, apply, pool=run.pool_id)


async def phase(id_: str) -> Phase:
    """A phase that must exist, locked."""
    found = await runs_queries.locked_phase(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


async def store(
    ctx: Context,
    run: Run,
    *phases: Phase,
    pool: str | None = None,
    listener: str | None = None,
) -> Run:
    """Write a move of a run and its phases, tell the workspace, say what happened.

    The run is written first: whoever sees a plan's end sees the run's next status too.
    """
    await runs_queries.save(run)
    for moved in phases:
        await runs_queries.save_phase(moved)
    return await announce(ctx, run, pool=pool, listener=listener)


async def announce(
    ctx: Context, run: Run, *, pool: str | None = None, listener: str | None = None
) -> Run:
    """Tell the workspace of a move of a run, and say what happened."""
    await _tell_workspace(ctx, run)
    await ctx.emit(
        RunChanged(
            run=run.id,
            workspace=run.workspace_id,
            status=run.status.value,
            reason=run.reason,
            pool=pool,
            listener=listener,
        )
    )
    return run


async def _tell_workspace(ctx: Context, run: Run) -> None:
    workspace = await workspaces.lock_row(ctx, run.workspace_id)
    if run.is_current:
        await workspaces.set_current_run(ctx, workspace.id, run.id)
        await workspaces.set_held_by_run(ctx, workspace.id, run.id)
    elif workspace.held_by_run_id == run.id:
        await workspaces.set_held_by_run(ctx, workspace.id, None)


async def finish(ctx: Context, run: Run, *phases: Phase, listener: str | None = None) -> Run:
    """Write the end of a run and of what it will never reach; let the next one go."""
    never = [] if any(phase.kind == "apply" for phase in phases) else await _never(ctx, run, phases)
    await store(ctx, run, *phases, *never, listener=listener)
    told = {"run": run.id, "workspace": run.workspace_id, "status": run.status.value}
    db.on_commit(partial(log.info, "a run has ended", **told, reason=run.reason))
    await advance(ctx, run.workspace_id)
    return run


async def _never(ctx: Context, run: Run, phases: Sequence[Phase]) -> list[Phase]:
    known = {phase.id for phase in phases}
    return [
        lifecycle.phase_moved(phase, "unreachable", ctx.now())
        for phase in await runs_queries.unstarted(run.id)
        if phase.id not in known
    ]
