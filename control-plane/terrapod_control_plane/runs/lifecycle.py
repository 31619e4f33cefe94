"""What may happen to a run: one table, and pure moves along it."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from terrapod_control_plane.kernel.errors import Conflict
from terrapod_control_plane.runs.model import ENDED, FINAL, Phase, PhaseStatus, Run, Status

S = Status

_ENDS = frozenset({S.ERRORED, S.CANCELED})
MOVES: dict[Status, frozenset[Status]] = {
    S.PENDING: frozenset({S.PLAN_QUEUED, S.DISCARDED}) | _ENDS,
    S.PLAN_QUEUED: frozenset({S.PLANNING}) | _ENDS,
    # Back to the queue when the agent was lost.
    S.PLANNING: frozenset({S.PLANNED, S.PLANNED_AND_SAVED, S.PLANNED_AND_FINISHED, S.PLAN_QUEUED})
    | _ENDS,
    S.PLANNED: frozenset({S.CONFIRMED, S.DISCARDED}) | _ENDS,
    S.PLANNED_AND_SAVED: frozenset({S.CONFIRMED, S.DISCARDED}) | _ENDS,
    S.CONFIRMED: frozenset({S.APPLY_QUEUED, S.DISCARDED}) | _ENDS,
    # Never back: an apply whose start was confirmed is not handed out again.
    S.APPLY_QUEUED: frozenset({S.APPLYING, S.CONFIRMED}) | _ENDS,
    S.APPLYING: frozenset({S.APPLIED}) | _ENDS,
} | dict.fromkeys(FINAL, frozenset())

_STAMPS = {
    S.PENDING: "plan-queueable-at",
    S.PLAN_QUEUED: "plan-queued-at",
    S.PLANNING: "planning-at",
    S.PLANNED: "planned-at",
    S.PLANNED_AND_SAVED: "planned-and-saved-at",
    S.PLANNED_AND_FINISHED: "planned-and-finished-at",
    S.CONFIRMED: "confirmed-at",
    S.APPLY_QUEUED: "apply-queued-at",
    S.APPLYING: "applying-at",
    S.APPLIED: "applied-at",
    S.DISCARDED: "discarded-at",
    S.ERRORED: "errored-at",
    S.CANCELED: "canceled-at",
}

# Work of a later kind stands so far back in the line of its pool.
_BEHIND = {"apply": timedelta(0), "plan": timedelta(minutes=1), "speculative": timedelta(minutes=2)}

CONFIRMABLE = frozenset({S.PLANNED, S.PLANNED_AND_SAVED})
DISCARDABLE = frozenset({S.PENDING, S.PLANNED, S.PLANNED_AND_SAVED, S.CONFIRMED})
CANCELABLE = frozenset(
    {S.PENDING, S.PLAN_QUEUED, S.PLANNING, S.CONFIRMED, S.APPLY_QUEUED, S.APPLYING}
)
RUNNING = frozenset({S.PLANNING, S.APPLYING})


def moved(run: Run, to: Status, at: datetime, **changes: Any) -> Run:
    """The run in its next status; raises :class:`Conflict` when there is no such move."""
    if to not in MOVES[run.status]:
        raise Conflict(f"transition not allowed: {run.id} is {run.status.value}")
    stamps = run.status_timestamps | {_STAMPS[to]: at}
    keeps = run.is_current and to not in FINAL
    changed: dict[str, Any] = {"is_current": keeps} | changes
    return msgspec.structs.replace(
        run, status=to, status_timestamps=stamps, changed_at=at, **changed
    )


def take_turn(run: Run, at: datetime) -> Run:
    """A waiting run's plan goes to the agents; one that may apply takes the workspace."""
    return moved(run, S.PLAN_QUEUED, at, is_current=run.queues)


def planned(run: Run, at: datetime, *, has_changes: bool) -> Run:
    """What a good plan leads to."""
    if run.plan_only or not (has_changes or run.allow_empty_apply):
        to = S.PLANNED_AND_FINISHED
    else:
        to = S.PLANNED_AND_SAVED if run.save_plan else S.PLANNED
    return moved(run, to, at, has_changes=has_changes)


def confirm(run: Run, at: datetime, *, by: str | None) -> Run:
    """A person, or auto-apply, lets the plan be applied."""
    # Not from wherever the table leads to `confirmed`: a queued apply may be in an agent's hands.
    if run.status not in CONFIRMABLE:
        raise Conflict(f"transition not allowed: {run.id} is {run.status.value}")
    return moved(run, S.CONFIRMED, at, confirmed_by=by, is_current=True)


def stale(run: Run, state: str | None, hold_ended_at: datetime | None) -> str | None:
    """Why a plan must not be applied any more, or nothing while it still fits."""
    if run.state_version_id != state:
        return "the state has changed since this plan was made"
    planned_at = run.status_timestamps.get(_STAMPS[S.PLANNING])
    if hold_ended_at is not None and planned_at is not None and planned_at <= hold_ended_at:
        return "this plan was made before the hold of the workspace ended"
    return None


def discard(run: Run, at: datetime, *, reason: str = "") -> Run:
    """The plan is not wanted."""
    if run.status not in DISCARDABLE:
        raise Conflict(f"transition not allowed: {run.id} is {run.status.value}")
    return moved(run, S.DISCARDED, at, reason=reason)


def cancel(run: Run, at: datetime, *, cool_off: timedelta) -> Run:
    """A waiting run ends at once; a running one is only asked to, and keeps its status."""
    if run.status not in CANCELABLE:
        raise Conflict(f"transition not allowed: {run.id} is {run.status.value}")
    if run.status in RUNNING:
        return msgspec.structs.replace(
            run, canceled_at=run.canceled_at or at, force_cancel_available_at=at + cool_off
        )
    return moved(run, S.CANCELED, at, canceled_at=at)


def force_cancel(run: Run, at: datetime) -> Run:
    """A run that did not answer to its cancel ends now."""
    available = run.force_cancel_available_at
    if run.status not in RUNNING or available is None or at < available:
        raise Conflict(f"transition not allowed: {run.id} cannot be force-canceled yet")
    stamps = run.status_timestamps | {"force-canceled-at": at}
    return moved(msgspec.structs.replace(run, status_timestamps=stamps), S.CANCELED, at)


def errored(run: Run, at: datetime, reason: str) -> Run:
    """It failed, and says why."""
    return moved(run, S.ERRORED, at, reason=reason)


# --- phases ---------------------------------------------------------------------------------------


def phase_moved(phase: Phase, to: PhaseStatus, at: datetime, **changes: Any) -> Phase:
    """The phase in its next status; an ended one gives up its lease and closes its log."""
    stamp = {"queued": "queued-at", "running": "started-at", "finished": "finished-at"}.get(
        to, f"{to}-at"
    )
    if to in ENDED:
        changes = {"lease_until": None, "log_complete": True} | changes
    stamps = phase.status_timestamps | {stamp: at}
    return msgspec.structs.replace(phase, status=to, status_timestamps=stamps, **changes)


def given_up(phase: Phase) -> Phase:
    """The started apply whose agent does not answer; what it still has to say is taken late."""
    # Who took its name over has raised the fence already.
    fence = phase.fence if phase.lost_fence is None else phase.lost_fence
    arrived = phase.log_size - phase.log_base
    return msgspec.structs.replace(phase, lost_fence=fence, late_from=arrived)


def shown(run: Run, now: datetime) -> Run:
    """The run as it is shown: its end not before whoever follows its plan has seen that end."""
    if not run.final or run.shown_at is None or run.shown_at <= now:
        return run
    stamps = {k: at for k, at in run.status_timestamps.items() if k != _STAMPS[run.status]}
    return msgspec.structs.replace(run, status=S.APPLYING, status_timestamps=stamps, reason="")


def phase_shown(phase: Phase, now: datetime) -> Phase:
    """The same for its apply."""
    hidden = phase.shown_at is not None and phase.shown_at > now
    if phase.kind != "apply" or not phase.ended or not hidden:
        return phase
    stamps = {k: at for k, at in phase.status_timestamps.items() if k != f"{phase.status}-at"}
    return msgspec.structs.replace(phase, status="running", status_timestamps=stamps)


def ordered(phase: Phase, at: datetime) -> Phase:
    """The phase whose agent is asked to stop it."""
    return msgspec.structs.replace(phase, order_kind="cancel", ordered_at=phase.ordered_at or at)


def phase_queued(phase: Phase, run: Run, at: datetime) -> Phase:
    """Ready to be claimed, with nobody's lease on it."""
    kind = phase.kind if phase.kind == "apply" or run.queues else "speculative"
    return phase_moved(
        phase,
        "queued",
        at,
        pool_id=run.pool_id,
        queued_at=at,
        rank=at + _BEHIND[kind],
        lease_until=None,
        start_confirmed=False,
        claim_key=None,
        lost_fence=None,
        artifacts={},  # what a lost attempt left must not meet the plan of the next one
    )
