"""Runs, for other slices, events and jobs."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from terrapod_control_plane.configurations import internal as configurations
from terrapod_control_plane.configurations.events import ConfigurationUploaded
from terrapod_control_plane.identity import internal as identity
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.kernel.policy import Scope
from terrapod_control_plane.runs import queries
from terrapod_control_plane.runs.creation import internal as creation
from terrapod_control_plane.runs.model import NewRun, Phase, Run, Standing, Status
from terrapod_control_plane.runs.scheduler import internal as scheduler
from terrapod_control_plane.runs.wait_reason import Facts
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.events import WorkspaceUnlocked
from terrapod_control_plane.workspaces.model import Workspace


async def scope(id_: str) -> Scope | None:
    """A run, plan or apply belongs to its workspace."""
    workspace = await queries.workspace_of(id_)
    return await workspaces.scope(workspace) if workspace else None


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
            configuration = await configurations.get(ctx, event.configuration)
            await creation.create(ctx, new, workspace, configuration)


async def workspace_unlocked(ctx: Context, event: WorkspaceUnlocked) -> None:
    """What waited for the lock goes on."""
    await scheduler.advance(ctx, event.workspace)


async def many(ctx: Context, wanted: Sequence[str]) -> list[Run]:
    """Those of the runs that the caller may see."""
    return await queries.visible(ctx.actor, wanted)


async def phases(ctx: Context, wanted: Sequence[str]) -> list[Phase]:
    """Those of the plans and applies that the caller may see."""
    return await queries.visible_phases(ctx.actor, wanted)


def found(id_: str, run: Run | None) -> Run:
    """The run, if it is there."""
    if run is None:
        raise NotFound(f"There is no {id_}.")
    return run


async def ahead(ctx: Context, wanted: Sequence[str]) -> dict[str, int]:
    """How many runs stand before each of these in its workspace."""
    return await queries.ahead(wanted) if wanted else {}


async def locked(ctx: Context, id_: str) -> Run:
    """A run that nobody else changes until the end of the transaction."""
    # The workspace's row comes first everywhere, so that no two moves wait for each other.
    workspace = await queries.workspace_of(id_)
    if workspace is not None:
        await workspaces.lock_row(ctx, workspace)
    return found(id_, await queries.locked(id_))


_QUEUED = (Status.PLAN_QUEUED, Status.APPLY_QUEUED)


_WITH_AGENTS = (*_QUEUED, Status.PLANNING, Status.APPLYING)


_TURN = (Status.PENDING, Status.CONFIRMED)


_NOTHING = Standing(run_id="")


async def wait_facts(
    ctx: Context, runs: Sequence[Run], workspaces: Mapping[str, Workspace]
) -> dict[str, Facts]:
    """The facts of runs by their ids; asks only for what their statuses depend on."""
    open_ = [run for run in runs if not run.final]
    if not open_:
        return {}
    stands = await queries.standing([r.id for r in open_ if r.status in _WITH_AGENTS])
    standing = stands.by_run
    agents = {found.listener_id for found in standing.values() if found.listener_id}
    names = await ctx.services.agent_directory.names(ctx, list(agents)) if agents else {}
    wanted = {run.pool_id for run in runs if run.status in _QUEUED and run.pool_id}
    pools = await ctx.services.agent_directory.pools(ctx, list(wanted)) if wanted else {}
    of_turn = {run.workspace_id for run in runs if run.status in _TURN}
    people = await _people(ctx, [workspaces[id_] for id_ in of_turn if id_ in workspaces])

    def facts(run: Run) -> Facts:
        at = standing.get(run.id, _NOTHING)
        pool, agent = pools.get(run.pool_id or ""), names.get(at.listener_id or "")
        with_agent = Facts(
            now=ctx.now(),
            paused=stands.paused or "",
            pool=pool,
            agent=agent,
            ahead=at.ahead,
            busy=at.busy,
            log_at=at.log_at,
            root=at.root,
        )
        return _in_workspace(with_agent, workspaces.get(run.workspace_id), people)

    return {run.id: facts(run) for run in open_}


async def _people(ctx: Context, workspaces: Iterable[Workspace]) -> dict[str, str]:
    ids = {workspace.locked_by for workspace in workspaces if workspace.locked_by}
    found = await identity.users(ctx, list(ids)) if ids else []
    return {user.id: user.username for user in found}


def _in_workspace(facts: Facts, workspace: Workspace | None, people: Mapping[str, str]) -> Facts:
    if workspace is None:
        return facts
    locker = workspace.locked_by
    return replace(
        facts,
        locked_by=people.get(locker, locker) if locker else None,
        locked_at=workspace.locked_at,
        lock_reason=workspace.lock_reason,
        hold_reason=workspace.hold_reason if workspace.hold_run_id else "",
        current_run=workspace.held_by_run_id,
    )
