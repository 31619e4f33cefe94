"""Why a run does not go on: one sentence for every status that is not final."""

from msgspec import Struct

from terrapod_control_plane.runs.model import Run, Status


class Facts(Struct, frozen=True, kw_only=True):
    """What the answer depends on beside the run itself."""

    locked: bool = False
    lock_reason: str = ""
    hold_reason: str = ""
    current_run: str | None = None


def why(run: Run, facts: Facts) -> str | None:
    """What the run waits for, or nothing when it is over."""
    if run.final:
        return None
    if run.status in (Status.PLANNING, Status.APPLYING):
        canceled = run.canceled_at is not None
        return "is being canceled; waits for its agent to stop" if canceled else "an agent is at it"
    if run.status is Status.PENDING:
        return _turn(run, facts)
    if run.status is Status.CONFIRMED:
        return _apply(facts)
    if run.status in (Status.PLANNED, Status.PLANNED_AND_SAVED):
        return "waits for a person with write permission to confirm or discard it"
    return _agent(run)


def _apply(facts: Facts) -> str:
    if facts.hold_reason:
        return f"the workspace is on hold: {facts.hold_reason}"
    return "the workspace is locked" if facts.locked else "is about to be queued"


def _turn(run: Run, facts: Facts) -> str:
    if facts.current_run is not None and facts.current_run != run.id:
        return f"waits behind {facts.current_run}, which has the workspace"
    if facts.locked:
        return f"the workspace is locked: {facts.lock_reason or 'no reason was given'}"
    return "is about to be queued"


def _agent(run: Run) -> str:
    if run.pool_id is None:
        return "there is no agent pool: create one and let an agent join it"
    return f"waits for a free agent of the pool {run.pool_id}"
