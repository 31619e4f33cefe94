"""SQL of claims and leases."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from terrapod_common.wire import HeldPhase
from terrapod_control_plane.kernel import db
from terrapod_control_plane.runs.model import Phase
from terrapod_control_plane.runs.phases.leases import model as internal
from terrapod_control_plane.runs.queries import PHASES

# The same question again gets what it was given: its answer was lost.
_BEFORE = "listener_id = $1 and claim_key = $2 and lease_until is not null and hands_out()"
_CLAIM = f"""
with before as (select {PHASES.columns} from phases where {_BEFORE}),
claimed as (
update phases set
    listener_id = $1, slot = $4, claim_key = $2, claimed_at = $6::timestamptz,
    fence = fence_after(fence), root = $9,
    claims = claims + 1, start_confirmed = false, log_base = log_size,
    lease_until = $6::timestamptz + case kind when 'plan' then $7::interval else $8::interval end
where hands_out() and not exists (select from before) and id = (
    select id from phases q
    where pool_id = $3 and status = 'queued' and lease_until is null and kind = any($5)
      and (kind = 'plan' or $9::text is null or coalesce((select p.root from phases p
        where p.run_id = q.run_id and p.kind = 'plan'), $9) = $9)
    order by rank limit 1 for update skip locked
)
returning {PHASES.columns})
select * from before union all select * from claimed
"""


async def claim(claimer: internal.Claimer, now: datetime, leases: internal.Leases) -> Phase | None:
    """Take the phase that is due first, or was taken by this very question before."""
    who = (claimer.listener, claimer.key, claimer.pool, claimer.slot, claimer.accept)
    return await PHASES.one(_CLAIM, *who, now, leases.plan, leases.apply, claimer.root)


async def claimed_before(claimer: internal.Claimer) -> Phase | None:
    """The phase that was taken by this very question before, if it was."""
    return await PHASES.first(_BEFORE, claimer.listener, claimer.key)


_RENEW = """
update phases set lease_until = greatest(
    lease_until, $3::timestamptz + case kind when 'plan' then $4::interval else $5::interval end)
where id in (
    select id from phases where listener_id = $1 and lease_until is not null
      and (id, fence) in (select * from unnest($2::text[], $6::bigint[]))
    order by id for no key update
)
returning id, kind
"""


async def renew(
    listener: str, holding: Sequence[HeldPhase], now: datetime, leases: internal.Leases
) -> dict[str, float]:
    """Renew what the agent says it holds and does hold: phase id -> seconds."""
    ids, fences = [h.phase_id for h in holding], [h.fence for h in holding]
    rows = await db.rows(_RENEW, listener, ids, now, leases.plan, leases.apply, fences)
    of = {"plan": leases.plan, "apply": leases.apply}
    return {row["id"]: of[row["kind"]].total_seconds() for row in rows}


_ORDERS = """
listener_id = $1 and order_kind is not null
  and (lease_until is not null or (order_kind = 'force_cancel' and ordered_at > $2))
order by id
"""


async def ordered(listener: str, since: datetime) -> list[Phase]:
    """The agent's phases with an order that stands."""
    return await PHASES.where(_ORDERS, listener, since)


async def latest_of_run(run: str, listener: str) -> Phase | None:
    """The phase of a run that the agent holds, or held last."""
    sql = "run_id = $1 and listener_id = $2 order by claimed_at desc limit 1"
    return await PHASES.first(sql, run, listener)


async def expired(now: datetime) -> list[Phase]:
    """Phases whose agent was silent for too long."""
    return await PHASES.where("lease_until < $1", now)


_OVERDUE = """
lease_until is not null
  and claimed_at < $1::timestamptz - case kind when 'plan' then $2::interval else $3::interval end
  and (ordered_at is null or ordered_at < $1::timestamptz - $4::interval)
"""


async def overdue(now: datetime, limits: internal.Leases, patience: timedelta) -> list[Phase]:
    """Held phases that have passed their time limit; ordered ones when patience has ended too."""
    return await PHASES.where(_OVERDUE, now, limits.plan, limits.apply, patience)


async def extend_all(now: datetime, leases: internal.Leases) -> None:
    """No lease ends before the server has been there for one full lease."""
    await db.execute(
        "update phases set lease_until = greatest(lease_until, $1::timestamptz + case kind "
        "when 'plan' then $2::interval else $3::interval end) where id in (select id from phases "
        "where lease_until is not null order by id for no key update)",
        now,
        leases.plan,
        leases.apply,
    )


async def held_by(listener: str) -> list[Phase]:
    """What an agent has."""
    return await PHASES.where("listener_id = $1 and lease_until is not null", listener)


async def let_go(listener: str, now: datetime) -> None:
    """Shut an agent out of what it holds, and end the leases, so that the sweep finds them."""
    sql = (
        "update phases set lease_until = $2, lost_fence = coalesce(lost_fence, fence), "
        "fence = fence + 1 "
        "where id in (select id from phases where listener_id = $1 and lease_until is not null "
        "order by id for no key update)"
    )
    await db.execute(sql, listener, now - timedelta(seconds=1))


async def waiting_workspaces() -> list[str]:
    """Workspaces in which a run might go on."""
    sql = (
        "select distinct workspace_id from runs r where status = 'confirmed' "
        "or (status = 'pending' and not exists "
        "(select from runs c where c.workspace_id = r.workspace_id and c.is_current))"
    )
    return [row["workspace_id"] for row in await db.rows(sql)]


async def forgotten(before: datetime) -> list[str]:
    """Runs that have waited for a person, a turn or an agent since before then."""
    sql = (
        "select id from runs where changed_at < $1 and status in ('pending', 'plan_queued', "
        "'planned', 'planned_and_saved', 'confirmed', 'apply_queued') order by number"
    )
    return [row["id"] for row in await db.rows(sql, before)]
