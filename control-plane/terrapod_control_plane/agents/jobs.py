"""What becomes of identities that nobody uses any more."""

from datetime import datetime, timedelta

from terrapod_control_plane.agents import queries
from terrapod_control_plane.agents.events import ListenerForgotten
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.runs.pools import internal as run_pools
from terrapod_control_plane.settings import Settings

_HOUR = 3600.0
_AT_ONCE = 500


async def forget_certificates(ctx: Context) -> None:
    """Remove certificates that can't be renewed any more, and agents that are left with none."""
    before = ctx.now() - timedelta(days=ctx.settings.agents.renew_after_expiry_days)
    while await _some(ctx, before) == _AT_ONCE:
        pass


async def _some(ctx: Context, before: datetime) -> int:
    async with db.transaction():
        ended = await queries.forget_certificates(before, _AT_ONCE)
        busy = await run_pools.busy_among(ctx, ended)
        for gone in await queries.forget_listeners([*set(ended).difference(busy)]):
            await ctx.emit(ListenerForgotten(listener=gone.id, pool=gone.pool_id, name=gone.name))
    return len(ended)


def jobs(_: Settings) -> list[Job]:
    """What runs by itself."""
    return [Job(name="agents.forget-certificates", run=forget_certificates, every=_HOUR)]
