"""What nobody reports: leases that ended, limits that passed, turns that came, forgotten plans."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from terrapod_common.loops import each
from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.runs.phases.leases import internal, model, queries
from terrapod_control_plane.runs.phases.results import internal as results
from terrapod_control_plane.runs.scheduler import internal as scheduler
from terrapod_control_plane.settings import Settings

# A turn that comes later than this after the one before it was held up.
_LATE = timedelta(seconds=2)


class LeaseWatch:
    """Looks every few seconds for leases that ended, and knows when it could not.

    While the process stood still or the database was away no beat could renew a lease. Such a
    time counts for no agent: its leases begin anew.
    """

    def __init__(self, every: float) -> None:
        self._late_after = timedelta(seconds=every) + _LATE
        self._looked_at: datetime | None = None

    async def look(self, ctx: Context) -> None:
        """Look once."""
        now, before = ctx.now(), self._looked_at
        silent = [phase.id for phase in await queries.expired(now)]
        if before is not None and now - before > self._late_after:
            await internal.extend_all(ctx)
            silent = []
        await _each(ctx, silent, results.lost)
        self._looked_at = ctx.now()  # from the end: what a look takes is no time away


def jobs(settings: Settings) -> list[Job]:
    """Leases, limits and queues; each for itself, so that none keeps the others."""
    every = settings.runs.sweep_seconds
    return [
        Job(name="runs.leases", run=_unless_paused(LeaseWatch(every).look), every=every),
        Job(name="runs.limits", run=_unless_paused(_limits), every=every),
        Job(name="runs.queues", run=_unless_paused(_queues), every=every),
        Job(name="runs.forgotten", run=_unless_paused(_forgotten), every=every),
    ]


def _unless_paused(
    run: Callable[[Context], Awaitable[None]],
) -> Callable[[Context], Awaitable[None]]:
    # What a restored database says of agents is old; its leases mean nothing.
    async def look(ctx: Context) -> None:
        if await epochs.paused() is None:
            await run(ctx)

    return look


async def _queues(ctx: Context) -> None:
    await _each(ctx, await queries.waiting_workspaces(), scheduler.advance)


async def _limits(ctx: Context) -> None:
    runs = ctx.settings.runs
    limits = model.Leases(
        timedelta(seconds=runs.plan_limit_seconds), timedelta(seconds=runs.apply_limit_seconds)
    )
    # Enough for the order to arrive, the interrupt, the kill and the last report.
    patience = timedelta(seconds=2 * runs.grace_seconds + runs.apply_lease_seconds)
    found = await queries.overdue(ctx.now(), limits, patience)
    await _each(ctx, [phase.id for phase in found], results.overdue)


async def _forgotten(ctx: Context) -> None:
    days = ctx.settings.runs.wait_for_person_days
    if days > 0:
        before = ctx.now() - timedelta(days=days)

        async def forget(ctx: Context, run: str) -> None:
            await results.forgotten(ctx, run, before)

        await _each(ctx, await queries.forgotten(before), forget)


async def _each(
    ctx: Context, ids: list[str], act: Callable[[Context, str], Awaitable[None]]
) -> None:
    async def one(id_: str) -> None:
        async with db.transaction():
            await act(ctx, id_)

    await each(ids, one)
