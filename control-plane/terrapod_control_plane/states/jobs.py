"""What happens to states by itself."""

from datetime import timedelta

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.settings import Settings
from terrapod_control_plane.states import internal, queries
from terrapod_control_plane.states.events import StateDiscarded


async def drop_pending(ctx: Context) -> None:
    """Give up versions whose content never came."""
    before = ctx.now() - timedelta(hours=ctx.settings.states.upload_hours)
    async with db.transaction():
        dropped = await queries.discard_pending(before)
        for version in dropped:
            await ctx.emit(StateDiscarded(state_version=version.id, workspace=version.workspace_id))
    await internal.forget_contents(ctx, dropped)


def jobs(settings: Settings) -> list[Job]:
    """What runs by itself."""
    return [Job(name="drop-pending-states", run=drop_pending, every=60.0)]
