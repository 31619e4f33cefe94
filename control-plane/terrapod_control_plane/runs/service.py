"""Use cases of runs, as people and the CLI see them."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from msgspec import UNSET, UnsetType

from terrapod_control_plane.configurations import service as configurations
from terrapod_control_plane.configurations.events import ConfigurationUploaded
from terrapod_control_plane.configurations.service import Configuration
from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.errors import Conflict, NotFound, Unprocessable
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Action, Scope
from terrapod_control_plane.organizations import service as organizations
from terrapod_control_plane.runs import creation, holds, lifecycle, queries, queue, viewers
from terrapod_control_plane.runs.model import NewRun, Phase, Run, Status
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.events import WorkspaceUnlocked, WorkspaceUpdated


@internal
async def scope(id_: str) -> Scope | None:
    """A run, plan or apply belongs to its workspace."""
    workspace = await queries.workspace_of(id_)
    return await workspaces.scope(workspace) if workspace else None


async def create(ctx: Context, new: NewRun) -> Run:
    """A new run; one that may apply waits for its turn, others plan at once."""
    await ctx.must(Action.RUN_PLAN, new.workspace_id)
    configuration = await _configuration(ctx, new)
    plan_only = new.plan_only or configuration.speculative
    if not plan_only:
        await ctx.must(Action.RUN_APPLY, new.workspace_id)
    return await creation.create(
        ctx, msgspec.structs.replace(new, plan_only=plan_only), configuration.id
    )


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


@internal
async def configuration_uploaded(ctx: Context, event: ConfigurationUploaded) -> None:
    """A configuration that asks for it gets its run in the same transaction."""
    if event.auto_queue_runs and not event.provisional:
        workspace = await workspaces.lock_row(ctx, event.workspace)
        if workspace.execution_mode != "local":
            new = NewRun(
                workspace_id=workspace.id,
                message="Triggered by a configuration upload",
                source="tfe-configuration-version",
                plan_only=event.speculative,
            )
            await creation.create(ctx, new, event.configuration)


@internal
async def workspace_unlocked(ctx: Context, event: WorkspaceUnlocked) -> None:
    """What waited for the lock goes on."""
    await queue.advance(ctx, event.workspace)


async def show(ctx: Context, id_: str) -> Run:
    """A run."""
    await ctx.must(Action.RUN_READ, id_)
    run = _found(id_, await queries.get(id_))
    await viewers.asks(ctx, run)
    return run


def _found(id_: str, run: Run | None) -> Run:
    if run is None:
        raise NotFound(f"There is no {id_}.")
    return run


@internal
async def many(ctx: Context, wanted: Sequence[str]) -> list[Run]:
    """Those of the runs that the caller may see."""
    found = await queries.many(wanted)
    seen = {w.id for w in await workspaces.many(ctx, [run.workspace_id for run in found])}
    return [run for run in found if run.workspace_id in seen]


@internal
async def phases(ctx: Context, wanted: Sequence[str]) -> list[Phase]:
    """Those of the plans and applies that the caller may see."""
    found = await queries.phases(wanted)
    seen = {w.id for w in await workspaces.many(ctx, [phase.workspace_id for phase in found])}
    return [phase for phase in found if phase.workspace_id in seen]


async def of_workspace(
    ctx: Context, workspace: str, statuses: Sequence[str], paging: Paging
) -> Page[Run]:
    """The runs of a workspace, newest first."""
    await ctx.must(Action.RUN_READ, workspace)
    return await queries.of_workspace(workspace, statuses, ctx.now(), paging)


async def queue_of_all(ctx: Context, paging: Paging) -> Page[Run]:
    """The open runs, oldest first; what the caller may not see is left out."""
    await ctx.must(Action.QUEUE_READ)
    seen = await workspaces.visible(ctx, await queries.open_workspaces())
    return await queries.open_runs(seen, paging)


async def capacity(ctx: Context) -> tuple[int, int]:
    """How many runs wait for an agent, and how many have one."""
    await ctx.must(Action.QUEUE_READ)
    return await queries.capacity()


async def phase(ctx: Context, id_: str) -> Phase:
    """A plan or an apply."""
    await ctx.must(Action.RUN_READ, id_)
    found = await queries.phases([id_])
    if not found:
        raise NotFound(f"There is no {id_}.")
    return found[0]


async def phase_in_full(ctx: Context, id_: str) -> Phase:
    """A plan whose JSON, with every value in clear, is about to be read."""
    await ctx.must(Action.STATE_DOWNLOAD, id_)
    return await phase(ctx, id_)


async def confirm(ctx: Context, id_: str) -> Run:
    """Let the plan be applied."""
    await ctx.must(Action.RUN_APPLY, id_)
    async with db.transaction():
        run = await _locked(ctx, id_)
        reason = await _unfit(ctx, run)
        if reason is None:
            run = await queue.store(ctx, lifecycle.confirm(run, ctx.now(), by=ctx.actor.id))
            await queue.advance(ctx, run.workspace_id)
            return await queries.locked(id_) or run
        await queue.finish(ctx, lifecycle.discard(run, ctx.now(), reason=reason))
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
    return queue.stale(run, workspace)


async def discard(ctx: Context, id_: str) -> Run:
    """The plan is not wanted."""
    await ctx.must(Action.RUN_APPLY, id_)
    async with db.transaction():
        run = await _locked(ctx, id_)
        return await queue.finish(ctx, lifecycle.discard(run, ctx.now()))


async def _locked(ctx: Context, id_: str) -> Run:
    # The workspace's row comes first everywhere, so that no two moves wait for each other.
    workspace = await queries.workspace_of(id_)
    if workspace is not None:
        await workspaces.lock_row(ctx, workspace)
    return _found(id_, await queries.locked(id_))


async def cancel(ctx: Context, id_: str) -> Run:
    """End a waiting run now, ask a running one to end."""
    await ctx.must(Action.RUN_APPLY if not await _plans_only(id_) else Action.RUN_PLAN, id_)
    async with db.transaction():
        run = await _locked(ctx, id_)
        cool_off = timedelta(seconds=ctx.settings.runs.force_cancel_after_seconds)
        canceled = lifecycle.cancel(run, ctx.now(), cool_off=cool_off)
        running = await queue.phase(run.apply_id if run.status is Status.APPLYING else run.plan_id)
        if not canceled.final:
            ordered = lifecycle.ordered(running, ctx.now())
            return await queue.store(ctx, canceled, ordered, listener=running.listener_id)
        ended = [
            lifecycle.phase_moved(phase, "canceled", ctx.now())
            for phase in (await queue.phase(run.plan_id), await queue.phase(run.apply_id))
            if not phase.ended
        ]
        return await queue.finish(ctx, canceled, *ended)


async def _plans_only(id_: str) -> bool:
    run = await queries.get(id_)
    return run is not None and run.plan_only


async def force_cancel(ctx: Context, id_: str) -> Run:
    """End a run that did not answer to its cancel; an apply puts the workspace on hold."""
    await ctx.must(Action.RUN_APPLY, id_)
    async with db.transaction():
        run = await _locked(ctx, id_)
        applying = run.status is Status.APPLYING
        phase = await queue.phase(run.apply_id if applying else run.plan_id)
        canceled = lifecycle.force_cancel(run, ctx.now())
        ended = lifecycle.phase_moved(phase, "canceled", ctx.now(), order_kind="force_cancel")
        if applying:
            ended = await holds.place(
                ctx, run, lifecycle.given_up(ended), "it was force-canceled during its apply"
            )
        return await queue.finish(ctx, canceled, ended, listener=phase.listener_id)


@internal
async def any_open_in(ctx: Context, pool: str) -> bool:
    """Whether a run that is not over counts on the agents of a pool."""
    return await queries.any_open_in(pool)


@internal
async def busy_among(ctx: Context, listeners: Sequence[str]) -> set[str]:
    """Those of the agents that carry out a run."""
    return await queries.busy_among(listeners)


@internal
async def pool_created(ctx: Context, pool: str) -> None:
    """Runs that no pool could get go to the new default one."""
    for waiting in await queries.without_pool():
        await _move(ctx, waiting, pool, left=None)


@internal
async def pool_left(ctx: Context, old: str, new: str) -> None:
    """What is not over in a pool goes to another; what an agent has stays with it."""
    for waiting in await queries.open_in(old):
        await _move(ctx, waiting, new, left=old)


@internal
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
    run = await _locked(ctx, id_)
    if not run.final and run.pool_id != pool and left in (UNSET, run.pool_id):
        moved = [
            msgspec.structs.replace(phase, pool_id=pool) for phase in await queries.waiting(run.id)
        ]
        await queue.store(ctx, msgspec.structs.replace(run, pool_id=pool), *moved, pool=pool)
