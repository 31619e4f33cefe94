"""Housekeeping of the kernel."""

from datetime import timedelta

from terrapod_control_plane.health.service import Looks
from terrapod_control_plane.kernel import events, spared
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job

_MINUTE = 60.0
_HOUR = 3600.0
_BATCH = 1000
_LOOK_EVERY = 1.0


async def trim_outbox(ctx: Context) -> None:
    """Drop events that nobody will ask for any more."""
    before = ctx.now() - timedelta(days=ctx.settings.database.outbox_days)
    while await events.trim(before, _BATCH) == _BATCH:
        pass


async def delete_doomed(ctx: Context) -> None:
    """Remove the blobs whose deletion waited for a backup."""
    await spared.delete_doomed({"blobs": ctx.parts.blobs, "binaries": ctx.parts.binaries})


def jobs() -> list[Job]:
    """What keeps the kernel in order, and tells whether it is."""
    return [
        Job(name="outbox.trim", run=trim_outbox, every=_HOUR, exclusive=True),
        Job(name="blobs.doomed", run=delete_doomed, every=_MINUTE),
        Job(name="health.look", run=Looks().look, every=_LOOK_EVERY),
    ]
