"""Why a run does not go on: one sentence for every status that is not final."""

from datetime import datetime

from msgspec import Struct

from terrapod_control_plane.kernel.context import PoolSeen
from terrapod_control_plane.runs.model import MANY, Run, Status

_RESUME = "; it goes on after `terrapod resume`"


class Facts(Struct, frozen=True, kw_only=True):
    """What the answer depends on beside the run itself."""

    now: datetime
    paused: str = ""  # why the whole server hands out nothing
    locked_by: str | None = None  # a name; of a person, for a run's hold is another column
    locked_at: datetime | None = None
    lock_reason: str = ""
    hold_reason: str = ""
    current_run: str | None = None
    pool: PoolSeen | None = None
    ahead: int = 0  # phases that the pool hands out before
    busy: int = 0  # phases that agents of the pool hold
    agent: str | None = None  # the name of the agent that holds the phase
    log_at: datetime | None = None
    root: str | None = None  # where the plan was made that waits to be applied


def why(run: Run, facts: Facts) -> str | None:
    """What the run waits for, or nothing when it is over."""
    if run.final or facts.paused:
        return None if run.final else f"the server is paused: {facts.paused}{_RESUME}"
    if run.status in (Status.PLANNING, Status.APPLYING):
        return _at_work(run, facts)
    if run.status is Status.PENDING:
        return _turn(run, facts)
    if run.status is Status.CONFIRMED:
        return _apply(facts)
    if run.status in (Status.PLANNED, Status.PLANNED_AND_SAVED):
        person = "waits for a person with write permission to confirm or discard it"
        return f"the workspace is on hold: {facts.hold_reason}" if facts.hold_reason else person
    return _agent(run, facts)


def _at_work(run: Run, facts: Facts) -> str:
    who = f"the agent {facts.agent}" if facts.agent else "an agent"
    if run.canceled_at is not None:
        return f"is being canceled; waits for {who} to stop"
    if facts.log_at is None:
        return f"{who} is at it and has not logged yet"
    return f"{who} is at it; last log {(facts.now - facts.log_at).total_seconds():.0f} s ago"


def _apply(facts: Facts) -> str:
    if facts.hold_reason:
        return f"the workspace is on hold: {facts.hold_reason}"
    return _lock(facts) or "is about to be queued"


def _turn(run: Run, facts: Facts) -> str:
    if facts.current_run is not None and facts.current_run != run.id:
        return f"waits behind {facts.current_run}, which has the workspace"
    return _lock(facts) or "is about to be queued"


def _lock(facts: Facts) -> str | None:
    if facts.locked_by is None:
        return None
    since = f" since {_moment(facts.locked_at)}" if facts.locked_at else ""
    reason = facts.lock_reason or "no reason was given"
    return f"the workspace is locked by {facts.locked_by}{since}: {reason}"


def _agent(run: Run, facts: Facts) -> str:
    if run.pool_id is None:
        return "there is no agent pool: create one and let an agent join it"
    if facts.agent is not None:
        return f"the agent {facts.agent} has taken it and prepares it"
    if facts.pool is None:
        return f"waits for a free agent of the pool {run.pool_id}"
    name, seen = facts.pool.name, facts.pool.last_seen
    many = " or more" if facts.ahead >= MANY else ""
    behind = f", {facts.ahead}{many} ahead of it" if facts.ahead else ""
    if facts.pool.slots == 0:
        last = f"the last was seen at {_moment(seen)}" if seen else "none was ever seen"
        nobody = f"no agent of the pool {name} is online and takes work; {last}"
        return f"the agent {facts.pool.trouble}" if facts.pool.trouble else nobody
    if facts.busy >= facts.pool.slots:
        return _elsewhere(facts) or f"all agents of the pool {name} are busy{behind}"
    return _elsewhere(facts) or f"waits for an agent of the pool {name} to take it{behind}"


def _elsewhere(facts: Facts) -> str | None:
    if facts.pool is None or not facts.root or {"", facts.root}.intersection(facts.pool.roots):
        return None
    others = ", ".join(sorted(facts.pool.roots))
    trouble = f"; the agent {facts.pool.trouble}" if facts.pool.trouble else ""
    return (
        f"no agent of the pool {facts.pool.name} that is online and takes work has its runs in "
        f"{facts.root}, where the plan was made (they have them in {others}){trouble}"
    )


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
