"""Housekeeping of the kernel."""

from datetime import timedelta

from anyio import to_thread

from terrapod_control_plane.health.service import Looks
from terrapod_control_plane.kernel import events, memory
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.settings import Settings

_HOUR = 3600.0
_MINUTE = 60.0


async def trim_outbox(ctx: Context) -> None:
    """Drop events that nobody will ask for any more."""
    await events.trim(ctx.now() - timedelta(days=ctx.settings.database.outbox_days))


async def give_memory_back(_: Context) -> None:
    """Return what a crowd or a large state has left free."""
    await to_thread.run_sync(memory.give_back)


def jobs(settings: Settings) -> list[Job]:
    """What keeps the kernel in order, and tells whether it is."""
    return [
        Job(name="outbox.trim", run=trim_outbox, every=_HOUR, exclusive=True),
        Job(name="memory.trim", run=give_memory_back, every=_MINUTE),
        Job(name="health.look", run=Looks().look, every=settings.server.look_every_seconds),
    ]
