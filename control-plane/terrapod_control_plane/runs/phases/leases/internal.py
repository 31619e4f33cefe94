"""Use cases of agents: claim, renew, report."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import anyio

from terrapod_common import wire
from terrapod_common.agent_protocol import Code
from terrapod_common.loops import each
from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, NotFound
from terrapod_control_plane.runs import lifecycle
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.model import Phase, Run, Status
from terrapod_control_plane.runs.phases.late_results import internal as late_results
from terrapod_control_plane.runs.phases.leases import queries
from terrapod_control_plane.runs.phases.leases.model import Claimer, LeaseRef, Leases
from terrapod_control_plane.runs.phases.results import internal as results
from terrapod_control_plane.runs.scheduler import internal as scheduler

# An agent has a few slots; it names the others with its next beat.
_DROPPED_AT_MOST = 100


def lease_times(ctx: Context) -> Leases:
    """How long a claim lasts without a beat."""
    runs = ctx.settings.runs
    return Leases(
        timedelta(seconds=runs.plan_lease_seconds), timedelta(seconds=runs.apply_lease_seconds)
    )


async def claim(
    ctx: Context, claimer: Claimer, wait: float, still: Callable[[], Awaitable[None]]
) -> Phase | None:
    """A phase for an idle slot, waiting in the pool's line for up to ``wait`` seconds.

    ``still`` raises when the listener was shut out while it waited.
    """
    topic = f"pool:{claimer.pool}"

    async def attempt() -> Phase | None:
        await still()
        # Whoever is sent away meanwhile still gets what was claimed, for nobody else would.
        found: Phase | None = None
        with anyio.CancelScope(shield=True):
            found = await queries.claim(claimer, ctx.now(), lease_times(ctx))
        return found  # noqa: RET504 - mypy: a scope may swallow what is raised inside

    # Who can't take what was queued must not stand before those who can.
    line = " ".join(filter(None, (",".join(sorted(claimer.accept)), claimer.root)))
    if ctx.services.bus.stands(topic, line):
        # The lease of what a lost answer gave runs on meanwhile, and that is no work of the others.
        await still()
        if (before := await queries.claimed_before(claimer)) is not None:
            return before
    return await ctx.services.bus.first_in_line(topic, attempt, wait, line=line)


async def renew(ctx: Context, listener: str, holding: list[wire.HeldPhase]) -> dict[str, float]:
    """Renew the leases of what an agent says it holds: phase id -> seconds from now."""
    if not holding:
        return {}
    return await queries.renew(listener, holding, ctx.now(), lease_times(ctx))


async def orders(ctx: Context, listener: str) -> list[wire.Order]:
    """What the server wants done with the agent's phases."""
    found = await queries.ordered(listener, ctx.now() - timedelta(days=1))
    return [
        wire.Order(phase_id=phase.id, fence=phase.fence, kind=phase.order_kind)
        for phase in found
        if phase.order_kind is not None
    ]


async def held(ctx: Context, lease: LeaseRef) -> Phase:
    """A phase that this agent holds under this fence; raises :class:`Conflict` otherwise."""
    return checked(await runs_queries.phase(lease.phase), lease)


def checked(phase: Phase | None, lease: LeaseRef) -> Phase:
    """The phase, if it is held by this listener under this fence."""
    if phase is None or phase.listener_id != lease.listener:
        raise NotFound(f"There is no {lease.phase} that you hold.", code=Code.NOT_YOURS)
    if phase.fence != lease.fence or not phase.held:
        told = f"{lease.phase} is no longer yours: the fence {lease.fence} is stale."
        raise Conflict(told, code=Code.STALE_FENCE)
    return phase


def lease_of(phase: Phase) -> LeaseRef:
    """What its holder names a held phase by."""
    return LeaseRef(listener=phase.listener_id or "", phase=phase.id, fence=phase.fence)


async def report(ctx: Context, listener: str, run_id: str, report: wire.Report) -> wire.Reported:
    """Take an agent's word on a phase: its start, which is confirmed here, or its end."""
    phase_id = await _phase_meant(listener, run_id, report)
    async with db.transaction():
        run, phase = await results.locked(ctx, run_id, phase_id)
        if phase.listener_id != listener:
            raise NotFound(f"There is no {phase_id} that you hold.", code=Code.NOT_YOURS)
        first = epochs.is_first(phase.fence)
        fence = phase.fence if report.fence is None and first else report.fence
        if fence == phase.fence and results.said_before(run, phase, report):
            return _reported(ctx, run, phase)
        checked(phase, LeaseRef(listener=listener, phase=phase_id, fence=fence or 0))
        run, phase = await _apply(ctx, run, phase, report)
        return _reported(ctx, run, phase)


async def _phase_meant(listener: str, run_id: str, report: wire.Report) -> str:
    if report.phase_id is not None:
        return report.phase_id
    found = await queries.latest_of_run(run_id, listener)
    if found is None:
        raise NotFound(f"There is no {run_id} that you hold.", code=Code.NOT_YOURS)
    return found.id


async def _apply(ctx: Context, run: Run, phase: Phase, report: wire.Report) -> tuple[Run, Phase]:
    if report.status in ("planning", "applying"):
        return await _start(ctx, run, phase, report)
    if report.log_size is not None and phase.log_base + report.log_size != phase.log_size:
        got = phase.log_size - phase.log_base
        told = f"The log has {got} bytes here, {report.log_size} were announced."
        raise Conflict(told, code=Code.LOG_SIZE)
    return await results.ended(ctx, run, phase, report)


async def _start(ctx: Context, run: Run, phase: Phase, report: wire.Report) -> tuple[Run, Phase]:
    if (report.status == "planning") != (phase.kind == "plan"):
        raise Conflict(f"{phase.id} cannot be {report.status}.", code=Code.WRONG_STATUS)
    if phase.order_kind is not None:
        raise Conflict(f"{run.id} is being canceled.", code=Code.CANCELED)
    await epochs.must_go_on()
    to = Status.PLANNING if phase.kind == "plan" else Status.APPLYING
    lease = getattr(lease_times(ctx), phase.kind)
    now = ctx.now()
    run = lifecycle.moved(run, to, now)
    phase = lifecycle.phase_moved(
        phase, "running", now, start_confirmed=True, lease_until=now + lease
    )
    return await scheduler.store(ctx, run, phase), phase


def _reported(ctx: Context, run: Run, phase: Phase) -> wire.Reported:
    until = phase.lease_until
    seconds = (until - ctx.now()).total_seconds() if until else 0
    return wire.Reported(status=run.status.value, lease_seconds=seconds)


async def dropped(ctx: Context, listener: str, holdings: list[wire.HeldPhase]) -> None:
    """What an agent that was started again does not run any more goes on at once."""
    for holding in sorted(holdings, key=lambda one: one.phase_id)[:_DROPPED_AT_MOST]:
        async with db.transaction():
            await results.dropped(ctx, listener, holding)


# Of applies that were given up, for the slices above.
late_log = late_results.append_log
late_result = late_results.result
returned = late_results.returned


async def let_go(ctx: Context, listener: str) -> None:
    """What a listener held is lost: its name was taken over or it was revoked."""
    await queries.let_go(listener, ctx.now())


async def settle(ctx: Context, listener: str) -> None:
    """After the commit of that: what it held ends now, so that what it still has comes late.

    Else the sweep would, and until then there is nothing that it could be late for.
    """

    async def end(phase: str) -> None:
        async with db.transaction():
            await results.lost(ctx, phase)

    if await epochs.paused() is None:
        # What fails is left to the sweep: what this follows has been committed.
        await each([phase.id for phase in await queries.held_by(listener)], end)


async def extend_all(ctx: Context) -> None:
    """At start: no lease ends before this process has been there for one full lease."""
    await queries.extend_all(ctx.now(), lease_times(ctx))
