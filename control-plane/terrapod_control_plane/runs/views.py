"""Runs and phases as documents; what a document needs beyond its model is gathered here."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.policy import Verdict, allows
from terrapod_control_plane.runs import internal, lifecycle
from terrapod_control_plane.runs.model import NewRun, Phase, Run, Status
from terrapod_control_plane.runs.phases.inputs import internal as phase_inputs
from terrapod_control_plane.runs.schema import (
    ApplyDoc,
    PhaseDoc,
    PlanDoc,
    RunCreate,
    RunDoc,
    RunVariableDoc,
)
from terrapod_control_plane.runs.wait_reason import why
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.actions import RUN_APPLY, VARIABLE_READ
from terrapod_control_plane.workspaces.model import Workspace

P = TypeVar("P", bound=PhaseDoc)

# Longer than any phase: the CLI asks for the URL once and reads from it to the end.
_SPARE = timedelta(hours=1)


async def documents(ctx: Context, runs: Sequence[Run]) -> list[RunDoc]:
    """Runs with their actions, permissions and reasons to wait."""
    runs = [lifecycle.shown(run, ctx.now()) for run in runs]
    found = await workspaces.many(ctx, list({run.workspace_id for run in runs}))
    of = {workspace.id: workspace for workspace in found}
    known = await internal.wait_facts(ctx, runs, of)
    pending = [run.id for run in runs if run.status is Status.PENDING]
    ahead = await internal.ahead(ctx, pending)

    def document(run: Run) -> RunDoc:
        reason = why(run, known[run.id]) if run.id in known else None
        return _document(ctx, run, of.get(run.workspace_id), reason, ahead.get(run.id, 0))

    return [document(run) for run in runs]


async def document(ctx: Context, run: Run) -> RunDoc:
    """A run; its permission was asked for by whoever fetched it."""
    return (await documents(ctx, [run]))[0]


def _document(
    ctx: Context, run: Run, workspace: Workspace | None, reason: str | None, ahead: int
) -> RunDoc:
    fields = {name: getattr(run, name) for name in RunDoc.__struct_fields__ if hasattr(run, name)}
    extra = {
        "status": run.status.value,
        "variables": _variables(ctx, run, workspace),
        "position_in_queue": ahead,
        "actions": _actions(ctx, run),
        "permissions": _permissions(ctx, workspace),
        "waiting_on": reason,
        "reason": run.reason or None,
        "workspace": run.workspace_id,
        "configuration_version": run.configuration_version_id,
        "plan": run.plan_id,
        "apply": run.apply_id,
    }
    return RunDoc(**(fields | extra))


def _variables(ctx: Context, run: Run, workspace: Workspace | None) -> list[RunVariableDoc]:
    """With the values that the plan's configuration does not call sensitive; before, with none."""
    scope = workspace.scope if workspace else None
    reads = scope is not None and allows(ctx.actor, VARIABLE_READ, scope) is Verdict.ALLOWED
    plain = frozenset(run.plain_variables or ()) if reads else frozenset[str]()
    return [
        RunVariableDoc(
            key=given.key,
            # No value is empty, for each one is an expression.
            value=given.value if given.key in plain else "",
            sensitive=given.key not in plain,
        )
        for given in phase_inputs.variables_of(ctx, run)
    ]


def _actions(ctx: Context, run: Run) -> dict[str, bool]:
    available = run.force_cancel_available_at
    running = run.status in lifecycle.RUNNING
    return {
        "is-cancelable": run.status in lifecycle.CANCELABLE and run.canceled_at is None,
        "is-confirmable": run.status in lifecycle.CONFIRMABLE,
        "is-discardable": run.status in lifecycle.DISCARDABLE,
        "is-force-cancelable": running and available is not None and ctx.now() >= available,
    }


def _permissions(ctx: Context, workspace: Workspace | None) -> dict[str, bool]:
    scope = workspace.scope if workspace else None
    may = scope is not None and (allows(ctx.actor, RUN_APPLY, scope) is Verdict.ALLOWED)
    names = ("can-apply", "can-cancel", "can-discard", "can-force-cancel", "can-force-execute")
    return dict.fromkeys(names, may)


def plan(ctx: Context, phase: Phase) -> PlanDoc:
    """A plan."""
    doc = _filled(ctx, phase, PlanDoc)
    doc.has_changes = bool(phase.has_changes)
    return doc


def apply(ctx: Context, phase: Phase) -> ApplyDoc:
    """An apply."""
    return _filled(ctx, phase, ApplyDoc)


def _filled(ctx: Context, phase: Phase, into: type[P]) -> P:
    phase = lifecycle.phase_shown(phase, ctx.now())
    runs = ctx.settings.runs
    longest = timedelta(seconds=runs.plan_limit_seconds + runs.apply_limit_seconds) + _SPARE
    waits = timedelta(days=runs.wait_for_person_days)
    token = ctx.services.signer.sign("log-read", phase.id, longest + waits)
    return into(
        id=phase.id,
        status=phase.status,
        log_read_url=f"{ctx.base_url}/api/v2/logs/{token}",
        resource_additions=phase.additions or 0,
        resource_changes=phase.changes or 0,
        resource_destructions=phase.destructions or 0,
        resource_imports=phase.imports or 0,
        status_timestamps=phase.status_timestamps,
    )


def asked(data: RunCreate) -> NewRun:
    """What a client asks for, with our defaults where it left something out."""
    given = {
        name: value
        for name, value in data.given().items()
        if value is not None and name not in ("workspace", "configuration_version")
    }
    configuration = data.configuration_version or None
    return NewRun(workspace_id=data.workspace, configuration_version_id=configuration, **given)


async def related(ctx: Context, wanted: Sequence[str]) -> list[RunDoc]:
    """For ``?include=``: those of the runs that the caller may see."""
    return await documents(ctx, await internal.many(ctx, wanted))


async def related_plans(ctx: Context, wanted: Sequence[str]) -> list[PlanDoc]:
    """For ``?include=``: those of the plans that the caller may see."""
    return [plan(ctx, phase) for phase in await internal.phases(ctx, wanted)]


async def related_applies(ctx: Context, wanted: Sequence[str]) -> list[ApplyDoc]:
    """For ``?include=``: those of the applies that the caller may see."""
    return [apply(ctx, phase) for phase in await internal.phases(ctx, wanted)]
