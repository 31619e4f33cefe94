"""Makes a run of what was asked for and of what its workspace is at this moment."""

from typing import Never

import msgspec

from terrapod_common.wire import PhaseKind
from terrapod_control_plane.configurations.model import Configuration
from terrapod_control_plane.kernel import epochs, ids
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Unprocessable
from terrapod_control_plane.organizations import internal as organizations
from terrapod_control_plane.runs import lifecycle
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.model import NewRun, Phase, Run, Status
from terrapod_control_plane.runs.scheduler import internal as scheduler
from terrapod_control_plane.toolchains import internal as toolchains
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.model import Workspace

_INVOKES = "1.14.0"
_INVOKE_POINTER = "/data/attributes/invoke-action-addrs"


async def create(
    ctx: Context, new: NewRun, workspace: Workspace, configuration: Configuration
) -> Run:
    """Store a run with its phases and let it go as far as it may; the workspace is locked."""
    if workspace.execution_mode == "local":
        raise Unprocessable("The workspace runs locally: its execution-mode is local.")
    may_use(configuration)  # archives are removed under the same lock
    if new.is_destroy and not workspace.allow_destroy_plan:
        raise Unprocessable("The workspace does not allow destroy plans.")
    run = await _fresh(ctx, new, workspace, configuration.id)
    plan, apply = _phase(run, "plan"), _phase(run, "apply")
    others = run.queues and await runs_queries.any_before(workspace.id)
    at_once = not run.queues or (
        not others and workspace.locked_by is None and await epochs.paused() is None
    )
    if not at_once:
        stored = await runs_queries.insert(run, [plan, apply])
        await _made(ctx, stored)
        if others:
            await scheduler.advance(ctx, workspace.id)
        return await runs_queries.locked(stored.id) or stored
    # Nothing is before it: it is stored as it goes on, which says less to the database.
    now = ctx.now()
    queued = lifecycle.take_turn(run, now)
    stored = await runs_queries.insert(queued, [lifecycle.phase_queued(plan, queued, now), apply])
    await _made(ctx, msgspec.structs.replace(run, number=stored.number))
    await scheduler.announce(ctx, stored, pool=stored.pool_id)
    if not stored.queues:  # it takes no turn, but whose turn it is may go on at any time
        await scheduler.advance(ctx, workspace.id)
    return stored


async def _made(ctx: Context, run: Run) -> None:
    await workspaces.count_run(ctx, run.workspace_id)
    await scheduler.announce(ctx, run)


def may_use(configuration: Configuration) -> None:
    """Refuse a configuration that has no archive."""
    id_, status = configuration.id, configuration.status
    if status == "archived":
        why = "it was old, and a newer one is there"
        raise Unprocessable(f"The archive of {id_} was removed: {why}. Upload it once more.")
    if status != "uploaded":
        raise Unprocessable(f"The configuration {id_} is {status}, not uploaded.")


async def _fresh(ctx: Context, new: NewRun, workspace: Workspace, configuration: str) -> Run:
    version = new.terraform_version or workspace.terraform_version
    version = await toolchains.resolve(ctx, workspace.tool, version) or version
    _may_invoke(new, workspace, version)
    now, id_ = ctx.now(), ids.new("run")
    return Run(
        id=id_,
        workspace_id=workspace.id,
        configuration_version_id=configuration,
        pool_id=workspace.agent_pool_id or await organizations.default_pool(ctx),
        plan_id=ids.new("plan"),
        apply_id=ids.new("apply"),
        status=Status.PENDING,
        status_timestamps={"plan-queueable-at": now},
        is_current=False,
        message=new.message or "Queued manually via the API",
        source=new.source,
        trigger_reason=new.trigger_reason,
        terraform_version=version,
        tool=workspace.tool,
        workspace_name=workspace.name,
        working_directory=workspace.working_directory,
        is_destroy=new.is_destroy,
        auto_apply=workspace.auto_apply if new.auto_apply is None else new.auto_apply,
        plan_only=new.plan_only,
        save_plan=new.save_plan,
        refresh=new.refresh,
        refresh_only=new.refresh_only,
        allow_empty_apply=new.allow_empty_apply,
        allow_config_generation=new.allow_config_generation,
        target_addrs=new.target_addrs,
        replace_addrs=new.replace_addrs,
        invoke_action_addrs=new.invoke_action_addrs,
        variables=_sealed(ctx, id_, new),
        created_by=ctx.actor.id or None,
        created_at=now,
        changed_at=now,
        state_version_id=workspace.current_state_version_id,
    )


def _may_invoke(new: NewRun, workspace: Workspace, version: str) -> None:
    if not new.invoke_action_addrs:
        return
    if workspace.tool != "terraform" or toolchains.is_before(version, _INVOKES):
        tool = f"{workspace.tool} {version}"
        _refuse_invoke(f"{tool} has no actions that can be invoked; terraform {_INVOKES} has")
    if len(new.invoke_action_addrs) > 1:
        _refuse_invoke("terraform invokes one action at a time")
    if new.is_destroy or new.target_addrs or new.replace_addrs:
        _refuse_invoke("an action is invoked without destroying, targets and replacements")


def _refuse_invoke(why: str) -> Never:
    raise Unprocessable(f"invoke-action-addrs: {why}.", pointer=_INVOKE_POINTER)


def _phase(run: Run, kind: PhaseKind) -> Phase:
    id_ = run.plan_id if kind == "plan" else run.apply_id
    return Phase(id=id_, run_id=run.id, workspace_id=run.workspace_id, kind=kind, pool_id=None)


def _sealed(ctx: Context, run: str, new: NewRun) -> bytes | None:
    if not new.variables:
        return None
    return ctx.services.ring.seal(msgspec.json.encode(new.variables), f"run:{run}")
