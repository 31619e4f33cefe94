"""Gathers what the reasons of runs to wait depend on, for many runs at once."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from terrapod_control_plane.identity import service as identity
from terrapod_control_plane.kernel import epochs
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.runs import queries
from terrapod_control_plane.runs.model import Run, Standing, Status
from terrapod_control_plane.runs.why import Facts
from terrapod_control_plane.workspaces.service import Workspace

_QUEUED = (Status.PLAN_QUEUED, Status.APPLY_QUEUED)
_WITH_AGENTS = (*_QUEUED, Status.PLANNING, Status.APPLYING)
_TURN = (Status.PENDING, Status.CONFIRMED)
_NOTHING = Standing(run_id="")


async def of(
    ctx: Context, runs: Sequence[Run], workspaces: Mapping[str, Workspace]
) -> dict[str, Facts]:
    """The facts of runs by their ids; asks only for what their statuses depend on."""
    standing = await _standing(run.id for run in runs if run.status in _WITH_AGENTS)
    agents = {found.listener_id for found in standing.values() if found.listener_id}
    names = await ctx.services.agent_directory.names(ctx, list(agents)) if agents else {}
    wanted = {run.pool_id for run in runs if run.status in _QUEUED and run.pool_id}
    pools = await ctx.services.agent_directory.pools(ctx, list(wanted)) if wanted else {}
    of_turn = {run.workspace_id for run in runs if run.status in _TURN}
    paused = await epochs.paused() if any(not run.final for run in runs) else None
    people = await _people(ctx, [workspaces[id_] for id_ in of_turn if id_ in workspaces])

    def facts(run: Run) -> Facts:
        stands = standing.get(run.id, _NOTHING)
        pool, agent = pools.get(run.pool_id or ""), names.get(stands.listener_id or "")
        with_agent = Facts(
            now=ctx.now(),
            paused=paused or "",
            pool=pool,
            agent=agent,
            ahead=stands.ahead,
            busy=stands.busy,
            log_at=stands.log_at,
            root=stands.root,
        )
        return _in_workspace(with_agent, workspaces.get(run.workspace_id), people)

    return {run.id: facts(run) for run in runs if not run.final}


async def _standing(ids: Iterable[str]) -> dict[str, Standing]:
    wanted = list(ids)
    return await queries.standing(wanted) if wanted else {}


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
