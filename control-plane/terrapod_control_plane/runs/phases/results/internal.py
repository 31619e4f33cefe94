"""How a phase ends, and what that means for its run and workspace. All inside a transaction."""

from datetime import datetime
from functools import partial

import msgspec
import structlog

from terrapod_common import wire
from terrapod_common.agent_protocol import Code
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, NotFound
from terrapod_control_plane.runs import lifecycle
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.holds import internal as holds
from terrapod_control_plane.runs.logs import internal as logs
from terrapod_control_plane.runs.model import Phase, Run, Status
from terrapod_control_plane.runs.scheduler import internal as scheduler
from terrapod_control_plane.runs.viewers import internal as viewers
from terrapod_control_plane.workspaces import internal as workspaces

log = structlog.get_logger()

_LIMIT = "it passed its time limit"
_SAID = {
    "planning": {Status.PLANNING},
    "planned": {Status.PLANNED, Status.PLANNED_AND_SAVED, Status.PLANNED_AND_FINISHED},
    "applying": {Status.APPLYING},
    "applied": {Status.APPLIED},
    "errored": {Status.ERRORED},
    "canceled": {Status.CANCELED},
}


async def locked(ctx: Context, run_id: str, phase_id: str) -> tuple[Run, Phase]:
    """Run and phase, locked after their workspace, as everywhere."""
    workspace = await runs_queries.workspace_of(run_id)
    if workspace is not None:
        await workspaces.lock_row(ctx, workspace)
    run, phase = await runs_queries.locked(run_id), await runs_queries.locked_phase(phase_id)
    if run is None or phase is None or phase.run_id != run.id:
        raise NotFound(f"There is no {run_id} with {phase_id}.", code=Code.NOT_YOURS)
    return run, phase


def said_before(run: Run, phase: Phase, report: wire.Report) -> bool:
    """Whether this very report was taken already and only its answer was lost."""
    if report.status in ("planning", "applying"):
        return phase.held and phase.start_confirmed and run.status in _SAID[report.status]
    if phase.lost_fence is not None:
        return False  # it was given up, and what its agent says of its end comes late
    if report.status in ("planned", "applied"):
        return phase.status == "finished"
    stopped = report.status == "canceled" and run.canceled_at is None  # by us, at the time limit
    return phase.ended and phase.status == ("errored" if stopped else report.status)


async def ended(ctx: Context, run: Run, phase: Phase, report: wire.Report) -> tuple[Run, Phase]:
    """The agent says how a phase ended."""
    now = ctx.now()
    counts = {
        "additions": report.additions,
        "changes": report.changes,
        "destructions": report.destructions,
        "imports": report.imports,
    }
    applied = phase.kind == "apply" and phase.start_confirmed
    stopped = report.limit_passed or (phase.order_kind is not None and run.canceled_at is None)
    if applied and (cause := _cause(report, stopped=stopped)):
        phase = await holds.place(ctx, run, phase, cause)
    if phase.kind == "apply":
        run = await viewers.hidden(ctx, run, applied=report.status == "applied")
    match report.status:
        case "planned" if phase.kind == "plan" and phase.start_confirmed:
            phase = lifecycle.phase_moved(
                phase, "finished", now, has_changes=bool(report.has_changes), **counts
            )
            run = msgspec.structs.replace(run, plain_variables=report.plain_variables)
            return await _planned(ctx, run, phase), phase
        case "applied" if applied:
            # terraform did what it planned; what it said about it is no source of numbers.
            planned = await runs_queries.phase(run.plan_id)
            phase = lifecycle.phase_moved(phase, "finished", now, **_counts(planned, counts))
            run = lifecycle.moved(run, Status.APPLIED, now, reason="")
            return await scheduler.finish(ctx, run, phase), phase
        case "canceled" if run.canceled_at is not None:
            done = counts if applied else {}
            phase = lifecycle.phase_moved(phase, "canceled", now, **done)
            run = lifecycle.moved(run, Status.CANCELED, now, reason="")
            return await scheduler.finish(ctx, run, phase), phase
        case "errored" | "canceled":
            phase = lifecycle.phase_moved(phase, "errored", now, **(counts if applied else {}))
            said = report.message or f"the {phase.kind} failed"
            reason = _LIMIT if stopped and phase.order_kind is not None else said
            return await scheduler.finish(ctx, lifecycle.errored(run, now, reason), phase), phase
    raise Conflict(f"{phase.id} cannot be {report.status}.", code=Code.WRONG_STATUS)


def _cause(report: wire.Report, *, stopped: bool) -> str:
    """Why a person has to look at what an apply has left, if so.

    Only an end for which terraform itself wrote its state needs nobody.
    """
    if not report.state_uploaded:
        why = f": {report.state_trouble}" if report.state_trouble else ""
        return f"the state that its apply reached has not arrived{why}"
    if report.hard:
        return report.message or "terraform did not end by itself"
    if stopped and report.status != "applied":
        return "its apply was stopped at its time limit"
    return ""


def _counts(plan: Phase | None, otherwise: dict[str, int]) -> dict[str, int]:
    if plan is None:
        return otherwise
    return {name: getattr(plan, name) or 0 for name in otherwise}


async def _planned(ctx: Context, run: Run, plan: Phase) -> Run:
    if run.canceled_at is not None:
        return await scheduler.finish(ctx, lifecycle.moved(run, Status.CANCELED, ctx.now()), plan)
    if wire.PLAN_FILE not in plan.artifacts:
        raise Conflict("The plan file was not uploaded.", code=Code.NO_PLAN_FILE)
    run = msgspec.structs.replace(run, reason="")  # of an order that came too late
    run = lifecycle.planned(run, ctx.now(), has_changes=bool(plan.has_changes))
    hold = (await workspaces.get(ctx, run.workspace_id)).hold
    if run.status is Status.PLANNED and hold is not None:
        # Not confirmed: terraform's command line takes that for a plan that has not begun.
        note = f"The workspace is on hold: {hold.reason}.\r\nNothing is applied before it ends."
        await logs.append_note(ctx, plan, f"\r\n{note}\r\n")
        await scheduler.store(ctx, run, plan)
    elif run.status is Status.PLANNED and run.auto_apply:
        await scheduler.store(ctx, run, plan)
        run = await scheduler.store(ctx, lifecycle.confirm(run, ctx.now(), by=run.created_by))
    elif run.final:
        return await scheduler.finish(ctx, run, plan)
    else:
        await scheduler.store(ctx, run, plan)
    # A plan that is stale already ends here.
    await scheduler.advance(ctx, run.workspace_id, current=run if run.is_current else None)
    return await runs_queries.locked(run.id) or run


async def lost(ctx: Context, phase_id: str) -> None:
    """The agent of a phase was silent for a whole lease."""
    found = await runs_queries.phase(phase_id)
    if found is None:
        return
    run, phase = await locked(ctx, found.run_id, phase_id)
    if phase.lease_until is None or phase.lease_until >= ctx.now():
        return  # renewed or ended meanwhile
    agent = await _agent(ctx, phase)
    told = {"phase": phase.id, "run": run.id, "workspace": run.workspace_id}
    told["agent"] = agent.removeprefix("its agent ")
    db.on_commit(partial(log.warning, "a lease has ended", **told))
    await _gone(ctx, run, phase, f"{agent} was lost")


async def dropped(ctx: Context, listener: str, holding: wire.HeldPhase) -> None:
    """An agent that was started again says what it does not run any more."""
    found = await runs_queries.phase(holding.phase_id)
    if found is None or found.listener_id != listener:
        return
    run, phase = await locked(ctx, found.run_id, found.id)
    if phase.listener_id != listener or phase.fence != holding.fence or not phase.held:
        return
    agent = await _agent(ctx, phase)
    told = {"phase": phase.id, "run": run.id, "workspace": run.workspace_id}
    told["agent"] = agent.removeprefix("its agent ")
    db.on_commit(partial(log.info, "an agent has dropped a phase", **told))
    await _gone(ctx, run, phase, f"{agent} was started again and has nothing of it: it was lost")


async def _agent(ctx: Context, phase: Phase) -> str:
    id_ = phase.listener_id or ""
    name = (await ctx.services.agent_directory.names(ctx, [id_])).get(id_)
    return f"its agent {name} ({id_})" if name else f"its agent {id_}"


async def _gone(ctx: Context, run: Run, phase: Phase, how: str) -> None:
    """Nobody runs a phase any more that was handed out."""
    if run.canceled_at is not None:
        await _canceled_without_answer(ctx, run, phase)
    elif phase.order_kind is not None:
        await _not_stopped(ctx, run, phase)
    elif phase.kind == "apply" and phase.start_confirmed:
        await _apply_lost(ctx, run, phase, f"{how} during apply")
    elif phase.claims >= ctx.settings.runs.claims_at_most:
        reason = f"{phase.claims} agents in a row were lost with it"
        await _failed(ctx, run, phase, reason)
    else:
        await _again(ctx, run, phase)


async def _again(ctx: Context, run: Run, phase: Phase) -> None:
    now = ctx.now()
    note = "\r\nThe agent was lost; the plan starts again on another one.\r\n\r\n"
    if phase.start_confirmed:
        await logs.append_note(ctx, phase, note)
        run = lifecycle.moved(run, Status.PLAN_QUEUED, now)
    await scheduler.store(ctx, run, lifecycle.phase_queued(phase, run, now), pool=run.pool_id)


async def _apply_lost(ctx: Context, run: Run, phase: Phase, why: str) -> None:
    reason = f"{why}; the workspace is on hold until its state is adopted or the hold is cleared"
    phase = await holds.place(ctx, run, lifecycle.given_up(phase), why)
    await _failed(ctx, run, phase, reason)


async def _failed(ctx: Context, run: Run, phase: Phase, reason: str) -> None:
    await logs.append_note(ctx, phase, f"\r\nError: {reason}\r\n")
    now = ctx.now()
    ended_ = lifecycle.phase_moved(phase, "errored", now)
    await scheduler.finish(
        ctx, lifecycle.errored(run, now, reason), ended_, listener=phase.listener_id
    )


async def _canceled_without_answer(ctx: Context, run: Run, phase: Phase) -> None:
    if phase.kind == "apply" and phase.start_confirmed:
        cause = "it was canceled during apply and its agent did not answer"
        phase = await holds.place(ctx, run, lifecycle.given_up(phase), cause)
    now = ctx.now()
    ended_ = lifecycle.phase_moved(phase, "canceled", now)
    await scheduler.finish(ctx, lifecycle.moved(run, Status.CANCELED, now), ended_)


async def overdue(ctx: Context, phase_id: str) -> None:
    """A phase passed its time limit: it is asked to end, and if it does not, it ends here."""
    found = await runs_queries.phase(phase_id)
    if found is None:
        return
    run, phase = await locked(ctx, found.run_id, phase_id)
    if not phase.held:
        return
    if phase.order_kind is None:
        run = msgspec.structs.replace(run, reason=_LIMIT)
        ordered = lifecycle.ordered(phase, ctx.now())
        await scheduler.store(ctx, run, ordered, listener=phase.listener_id)
    elif run.canceled_at is not None:
        await _canceled_without_answer(ctx, run, phase)
    else:
        await _not_stopped(ctx, run, phase)


async def _not_stopped(ctx: Context, run: Run, phase: Phase) -> None:
    if phase.kind == "apply" and phase.start_confirmed:
        await _apply_lost(ctx, run, phase, f"{_LIMIT} and its agent did not stop it")
    else:
        await _failed(ctx, run, phase, _LIMIT)


async def forgotten(ctx: Context, run_id: str, before: datetime) -> None:
    """Nobody confirmed a plan, or no agent took a phase, for the time that the settings give."""
    found = await runs_queries.get(run_id)
    if found is None:
        return
    run, plan = await locked(ctx, run_id, found.plan_id)
    now = ctx.now()
    if run.changed_at >= before:
        return  # went on meanwhile, perhaps because another run ended
    if run.status in lifecycle.DISCARDABLE:
        reason = "nobody confirmed it in time, or its turn did not come"
        await scheduler.finish(ctx, lifecycle.discard(run, now, reason=reason))
        return
    phase = plan if run.status is Status.PLAN_QUEUED else await scheduler.phase(run.apply_id)
    if run.status in (Status.PLAN_QUEUED, Status.APPLY_QUEUED) and not phase.held:
        await _failed(ctx, run, phase, "no agent took it in time")
