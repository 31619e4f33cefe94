"""Housekeeping of the kernel."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog
from anyio import to_thread

from terrapod_control_plane.health.internal import LagWatch, Looks
from terrapod_control_plane.kernel import memory, outbox, spared
from terrapod_control_plane.kernel.consumers import Consumer, Delivery
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.settings import Settings

_QUARTER = 15.0
_MINUTE = 60.0
_HOUR = 3600.0
# So many times as long as others, events stay that a consumer has not read.
_KEPT_UNREAD = 4
_AT_ONCE = 1000  # rows that one statement removes, so that none takes long
# What the line of an event says besides its subject: ids and words of ours, nothing that people
# have written.
_TOLD = ("run", "workspace", "status", "listener", "pool", "configuration", "token")

log = structlog.get_logger()


async def trim_outbox(ctx: Context) -> None:
    """Drop events that nobody will ask for any more.

    What a consumer has still to read waits for it, but not for ever.
    """
    days = timedelta(days=ctx.settings.database.outbox_days)
    await _trim(outbox.trim, ctx.now() - days)
    if lost := await _trim(outbox.trim_unread, ctx.now() - _KEPT_UNREAD * days):
        log.error("events were dropped that a consumer had not read", count=lost)


async def trim_audit(ctx: Context) -> None:
    """Drop what the audit record keeps no longer."""
    days = ctx.settings.retention.audit_days
    if days > 0:
        await _trim(outbox.trim_audit, ctx.now() - timedelta(days=days))


async def _trim(some: Callable[[datetime, int], Awaitable[int]], before: datetime) -> int:
    gone = last = await some(before, _AT_ONCE)
    while last == _AT_ONCE:
        last = await some(before, _AT_ONCE)
        gone += last
    return gone


async def delete_doomed(ctx: Context) -> None:
    """Remove the blobs whose deletion waited for a backup."""
    await spared.delete_doomed({"blobs": ctx.services.blobs, "binaries": ctx.services.binaries})


async def give_memory_back(_: Context) -> None:
    """Return what a crowd or a large state has left free."""
    await to_thread.run_sync(memory.give_back)


async def write_event(_: Context, delivery: Delivery) -> None:
    """Write a line of the log for an event."""
    event = delivery.event
    about = {name: value for name in _TOLD if (value := getattr(event, name, None))}
    log.info(
        "event",
        **about | {"kind": event.kind, "subject": event.subject, "at": delivery.at.isoformat()},
        actor=f"{delivery.actor_kind}:{delivery.actor_id}".rstrip(":"),
        request_id=delivery.request_id,
    )


def consumers(settings: Settings) -> list[Consumer]:
    """What follows from every event."""
    return [Consumer(name="log", handle=write_event)] if settings.logging.events else []


def jobs(settings: Settings) -> list[Job]:
    """What keeps the kernel in order, and tells whether it is."""
    look = settings.server.look_every_seconds
    return [
        Job(name="outbox.trim", run=trim_outbox, every=_HOUR, exclusive=True),
        Job(name="audit.trim", run=trim_audit, every=_HOUR, exclusive=True),
        Job(name="blobs.doomed", run=delete_doomed, every=_MINUTE),
        Job(name="memory.trim", run=give_memory_back, every=_MINUTE),
        Job(name="health.look", run=Looks().look, every=look),
        Job(name="outbox.lag", run=LagWatch().look, every=max(look, _QUARTER)),
    ]
