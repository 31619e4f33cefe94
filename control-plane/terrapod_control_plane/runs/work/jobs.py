"""What nobody reports: leases that ended, limits that passed, turns that came, forgotten plans."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from terrapod_common.loops import each
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.runs import queries, queue
from terrapod_control_plane.runs.work import outcomes, service
from terrapod_control_plane.runs.work import queries as work
from terrapod_control_plane.runs.work.queries import Leases
from terrapod_control_plane.settings import Settings

# A turn that comes later than this after the one before it was held up.
_LATE = timedelta(seconds=2)


class Sweep:
    """Looks every few seconds, and knows when it could not.

    While the process stood still or the database was away no beat could renew a lease. Such a
    time counts for no agent: its leases begin anew.
    """

    def __init__(self, every: float) -> None:
        self._late_after = timedelta(seconds=every) + _LATE
        self._looked_at: datetime | None = None

    async def turn(self, ctx: Context) -> None:
        """Look once."""
        await self._leases(ctx)
        await _limits(ctx)
        await _each(ctx, await queries.waiting_workspaces(), queue.advance)
        await _forgotten(ctx)

    async def _leases(self, ctx: Context) -> None:
        now, before = ctx.now(), self._looked_at
        silent = [phase.id for phase in await work.expired(now)]
        if before is not None and now - before > self._late_after:
            await service.extend_all(ctx)
            silent = []
        self._looked_at = now
        await _each(ctx, silent, outcomes.lost)


def jobs(settings: Settings) -> list[Job]:
    """Leases, limits and queues."""
    every = settings.runs.sweep_seconds
    return [Job(name="runs.sweep", run=Sweep(every).turn, every=every)]


async def _limits(ctx: Context) -> None:
    runs = ctx.settings.runs
    limits = Leases(
        timedelta(seconds=runs.plan_limit_seconds), timedelta(seconds=runs.apply_limit_seconds)
    )
    # Enough for the order to arrive, the interrupt, the kill and the last report.
    patience = timedelta(seconds=2 * runs.grace_seconds + runs.apply_lease_seconds)
    found = await work.overdue(ctx.now(), limits, patience)
    await _each(ctx, [phase.id for phase in found], outcomes.overdue)


async def _forgotten(ctx: Context) -> None:
    days = ctx.settings.runs.wait_for_person_days
    if days > 0:
        before = ctx.now() - timedelta(days=days)

        async def forget(ctx: Context, run: str) -> None:
            await outcomes.forgotten(ctx, run, before)

        await _each(ctx, await queries.forgotten(before), forget)


async def _each(
    ctx: Context, ids: list[str], act: Callable[[Context, str], Awaitable[None]]
) -> None:
    async def one(id_: str) -> None:
        async with db.transaction():
            await act(ctx, id_)

    await each(ids, one)
