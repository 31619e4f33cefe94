"""Housekeeping of the kernel."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from anyio import to_thread

from terrapod_control_plane.health.internal import Looks
from terrapod_control_plane.kernel import memory, outbox, spared
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.settings import Settings

_MINUTE = 60.0
_HOUR = 3600.0
_AT_ONCE = 1000  # rows that one statement removes, so that none takes long


async def trim_outbox(ctx: Context) -> None:
    """Drop events that nobody will ask for any more."""
    await _trim(outbox.trim, ctx.now() - timedelta(days=ctx.settings.database.outbox_days))


async def trim_audit(ctx: Context) -> None:
    """Drop what the audit record keeps no longer."""
    days = ctx.settings.retention.audit_days
    if days > 0:
        await _trim(outbox.trim_audit, ctx.now() - timedelta(days=days))


async def _trim(some: Callable[[datetime, int], Awaitable[int]], before: datetime) -> None:
    while await some(before, _AT_ONCE) == _AT_ONCE:
        pass


async def delete_doomed(ctx: Context) -> None:
    """Remove the blobs whose deletion waited for a backup."""
    await spared.delete_doomed({"blobs": ctx.services.blobs, "binaries": ctx.services.binaries})


async def give_memory_back(_: Context) -> None:
    """Return what a crowd or a large state has left free."""
    await to_thread.run_sync(memory.give_back)


def jobs(settings: Settings) -> list[Job]:
    """What keeps the kernel in order, and tells whether it is."""
    return [
        Job(name="outbox.trim", run=trim_outbox, every=_HOUR, exclusive=True),
        Job(name="audit.trim", run=trim_audit, every=_HOUR, exclusive=True),
        Job(name="blobs.doomed", run=delete_doomed, every=_MINUTE),
        Job(name="memory.trim", run=give_memory_back, every=_MINUTE),
        Job(name="health.look", run=Looks().look, every=settings.server.look_every_seconds),
    ]
