"""A phase as its agent gets it."""

from terrapod_common import wire
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.runs.model import Phase, Run
from terrapod_control_plane.runs.phases.inputs import internal as phase_inputs
from terrapod_control_plane.runs.phases.leases import internal as leases
from terrapod_control_plane.runs.recovery import internal as recovery
from terrapod_control_plane.toolchains import internal as toolchains
from terrapod_control_plane.toolchains.model import Platform
from terrapod_control_plane.variables import internal as variables
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.model import Workspace


async def work_of_phase(ctx: Context, phase: Phase, platform: str) -> wire.Work:
    run = await phase_inputs.run_of(ctx, phase)
    workspace = await workspaces.get(ctx, phase.workspace_id)
    plan = phase if phase.kind == "plan" else await phase_inputs.plan_of(ctx, run)
    lease = getattr(leases.lease_times(ctx), phase.kind)
    return wire.Work(
        run_id=run.id,
        phase_id=phase.id,
        kind=phase.kind,
        fence=phase.fence,
        claim=recovery.claim_token(ctx, run, phase),
        lease_seconds=lease.total_seconds(),
        organization="default",
        workspace_id=workspace.id,
        workspace=run.workspace_name,
        working_directory=run.working_directory,
        tool=await _tool(ctx, run, platform),
        flags=_flags(run),
        limits=_limits(ctx, phase, workspace),
        variables=await _variables(ctx, workspace, run, plan, phase),
        environment=_environment(run),
        has_configuration=run.configuration_version_id is not None,
        has_state=workspace.current_state_version_id is not None,
        artifacts=(
            {name: artifact.digest for name, artifact in plan.artifacts.items()}
            if phase.kind == "apply"
            else {}
        ),
        hosts=list(ctx.settings.hosts()),
    )


async def _variables(
    ctx: Context, workspace: Workspace, run: Run, plan: Phase, phase: Phase
) -> list[wire.RunVariable]:
    """The workspace's and the run's own. An apply gets the plan's, but the present environment.

    terraform refuses a plan that was made with other values; credentials may have been renewed.
    """
    present = await variables.effective(ctx, workspace.id)
    environment = [one for one in present if one.category == "env"]
    if phase.kind == "apply":
        return [*environment, *phase_inputs.read_by(ctx, plan)]
    given = [one for one in present if one.category == "terraform"]
    given += _run_variables(ctx, run)
    await phase_inputs.reads(ctx, plan, workspace.current_state_version_id, given)
    return [*environment, *given]


async def _tool(ctx: Context, run: Run, platform: str) -> wire.Tool:
    os, _, arch = platform.partition("_")
    found = None
    if os and arch:
        wanted = Platform(tool=run.tool, version=run.terraform_version, os=os, arch=arch)
        found = await toolchains.find(ctx, wanted)
    digest = found.digest if found else None
    return wire.Tool(name=run.tool, version=run.terraform_version, digest=digest)


def _flags(run: Run) -> wire.Flags:
    return wire.Flags(
        destroy=run.is_destroy,
        refresh=run.refresh,
        refresh_only=run.refresh_only,
        targets=run.target_addrs,
        replaces=run.replace_addrs,
        allow_config_generation=run.allow_config_generation,
        invokes=run.invoke_action_addrs,
    )


def _limits(ctx: Context, phase: Phase, workspace: Workspace) -> wire.Limits:
    runs = ctx.settings.runs
    plan = phase.kind == "plan"
    return wire.Limits(
        phase_seconds=runs.plan_limit_seconds if plan else runs.apply_limit_seconds,
        grace_seconds=runs.grace_seconds,
        log_bytes=runs.log_bytes,
        state_every_seconds=runs.state_every_seconds,
        configuration_bytes=ctx.settings.configurations.unpacked_bytes_at_most,
        memory_bytes=workspace.memory_bytes,
        state_bytes=ctx.settings.states.bytes_at_most,
    )


def _run_variables(ctx: Context, run: Run) -> list[wire.RunVariable]:
    return [
        wire.RunVariable(key=variable.key, value=variable.value, hcl=True)
        for variable in phase_inputs.variables_of(ctx, run)
    ]


def _environment(run: Run) -> dict[str, str]:
    return {
        "TFC_RUN_ID": run.id,
        "TFC_WORKSPACE_NAME": run.workspace_name,
        "TFC_WORKSPACE_SLUG": f"default/{run.workspace_name}",
    }
