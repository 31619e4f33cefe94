"""Housekeeping of the kernel."""

from datetime import timedelta

from terrapod_control_plane.health.service import Looks
from terrapod_control_plane.kernel import events
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job

_HOUR = 3600.0
_LOOK_EVERY = 1.0


async def trim_outbox(ctx: Context) -> None:
    """Drop events that nobody will ask for any more."""
    await events.trim(ctx.now() - timedelta(days=ctx.settings.database.outbox_days))


def jobs() -> list[Job]:
    """What keeps the kernel in order, and tells whether it is."""
    return [
        Job(name="outbox.trim", run=trim_outbox, every=_HOUR, exclusive=True),
        Job(name="health.look", run=Looks().look, every=_LOOK_EVERY),
    ]
