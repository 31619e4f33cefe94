"""Use cases of runs, as people and the CLI see them."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from terrapod_control_plane.configurations import internal as configurations
from terrapod_control_plane.configurations.model import Configuration
from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, NotFound, Unprocessable
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.runs import internal, lifecycle, queries
from terrapod_control_plane.runs.actions import QUEUE_READ
from terrapod_control_plane.runs.creation import internal as creation
from terrapod_control_plane.runs.holds import internal as holds
from terrapod_control_plane.runs.model import NewRun, Phase, Run, Status
from terrapod_control_plane.runs.scheduler import internal as scheduler
from terrapod_control_plane.runs.viewers import internal as viewers
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.actions import RUN_APPLY, RUN_PLAN, RUN_READ


async def create(ctx: Context, new: NewRun) -> Run:
    """A new run; one that may apply waits for its turn, others plan at once."""
    await ctx.must(RUN_PLAN, new.workspace_id)
    async with db.transaction():
        workspace = await workspaces.lock_row(ctx, new.workspace_id)
        configuration = await _configuration(ctx, new)
        plan_only = new.plan_only or configuration.speculative
        if not plan_only:
            await ctx.must(RUN_APPLY, new.workspace_id)
        new = msgspec.structs.replace(new, plan_only=plan_only)
        return await creation.create(ctx, new, workspace, configuration)


async def _configuration(ctx: Context, new: NewRun) -> Configuration:
    if new.configuration_version_id is None:
        found = await configurations.latest_uploaded(ctx, new.workspace_id)
        if found is None:
            raise Unprocessable("The workspace has no configuration yet: upload one first.")
        return found
    found = await configurations.get(ctx, new.configuration_version_id)
    if found.workspace_id != new.workspace_id:
        raise NotFound(f"There is no {new.configuration_version_id}.")
    creation.may_use(found)
    return found


async def show(ctx: Context, id_: str) -> Run:
    """A run."""
    await ctx.must(RUN_READ, id_)
    run = internal.found(id_, await queries.get(id_))
    await viewers.asks(ctx, run)
    return run


async def of_workspace(
    ctx: Context, workspace: str, statuses: Sequence[str], paging: Paging
) -> Page[Run]:
    """The runs of a workspace, newest first."""
    await ctx.must(RUN_READ, workspace)
    return await queries.of_workspace(workspace, statuses, ctx.now(), paging)


async def queue_of_all(ctx: Context, paging: Paging) -> Page[Run]:
    """The open runs, oldest first; what the caller may not see is left out."""
    await ctx.must(QUEUE_READ)
    return await queries.open_runs(ctx.actor, paging)


async def capacity(ctx: Context) -> tuple[int, int]:
    """How many runs wait for an agent, and how many have one."""
    await ctx.must(QUEUE_READ)
    return await queries.capacity()


async def phase(ctx: Context, id_: str) -> Phase:
    """A plan or an apply."""
    await ctx.must(RUN_READ, id_)
    found = await queries.phases([id_])
    if not found:
        raise NotFound(f"There is no {id_}.")
    return found[0]


async def confirm(ctx: Context, id_: str) -> Run:
    """Let the plan be applied."""
    await ctx.must(RUN_APPLY, id_)
    async with db.transaction():
        run = await internal.locked(ctx, id_)
        reason = await _unfit(ctx, run)
        if reason is None:
            run = await scheduler.store(ctx, lifecycle.confirm(run, ctx.now(), by=ctx.actor.id))
            workspace = await workspaces.lock_row(ctx, run.workspace_id)
            # Whatever else keeps an apply back was looked at above.
            return await scheduler.enqueue_apply(ctx, run) if not workspace.locked_by else run
        await scheduler.finish(ctx, lifecycle.discard(run, ctx.now(), reason=reason))
    # After the commit: nobody can ever apply this plan.
    raise Conflict(f"transition not allowed: {reason}; the run is discarded")


async def _unfit(ctx: Context, run: Run) -> str | None:
    if run.status not in lifecycle.CONFIRMABLE:
        return None
    await epochs.must_go_on()
    workspace = await workspaces.lock_row(ctx, run.workspace_id)
    if workspace.hold_run_id is not None:
        raise Conflict(
            f"transition not allowed: the workspace is on hold: {workspace.hold_reason}. "
            "End the hold first; then plan again, for this plan does not know what was made."
        )
    if run.status is Status.PLANNED_AND_SAVED and (
        workspace.locked_by is not None or await queries.current(workspace.id) is not None
    ):
        raise Conflict("transition not allowed: the workspace is locked or has another run")
    return scheduler.stale(run, workspace)


async def discard(ctx: Context, id_: str) -> Run:
    """The plan is not wanted."""
    await ctx.must(RUN_APPLY, id_)
    async with db.transaction():
        run = await internal.locked(ctx, id_)
        return await scheduler.finish(ctx, lifecycle.discard(run, ctx.now()))


async def cancel(ctx: Context, id_: str) -> Run:
    """End a waiting run now, ask a running one to end."""
    await ctx.must(RUN_APPLY if not await _plans_only(id_) else RUN_PLAN, id_)
    async with db.transaction():
        run = await internal.locked(ctx, id_)
        cool_off = timedelta(seconds=ctx.settings.runs.force_cancel_after_seconds)
        canceled = lifecycle.cancel(run, ctx.now(), cool_off=cool_off)
        running = await scheduler.phase(
            run.apply_id if run.status is Status.APPLYING else run.plan_id
        )
        if not canceled.final:
            ordered = lifecycle.ordered(running, ctx.now())
            return await scheduler.store(ctx, canceled, ordered, listener=running.listener_id)
        ended = [
            lifecycle.phase_moved(phase, "canceled", ctx.now())
            for phase in (await scheduler.phase(run.plan_id), await scheduler.phase(run.apply_id))
            if not phase.ended
        ]
        return await scheduler.finish(ctx, canceled, *ended)


async def _plans_only(id_: str) -> bool:
    run = await queries.get(id_)
    return run is not None and run.plan_only


async def force_cancel(ctx: Context, id_: str) -> Run:
    """End a run that did not answer to its cancel; an apply puts the workspace on hold."""
    await ctx.must(RUN_APPLY, id_)
    async with db.transaction():
        run = await internal.locked(ctx, id_)
        applying = run.status is Status.APPLYING
        phase = await scheduler.phase(run.apply_id if applying else run.plan_id)
        canceled = lifecycle.force_cancel(run, ctx.now())
        ended = lifecycle.phase_moved(phase, "canceled", ctx.now(), order_kind="force_cancel")
        if applying:
            ended = await holds.place(
                ctx, run, lifecycle.given_up(ended), "it was force-canceled during its apply"
            )
        return await scheduler.finish(ctx, canceled, ended, listener=phase.listener_id)
