"""Housekeeping of the kernel."""

from datetime import timedelta

from terrapod_control_plane.kernel import events
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job

_HOUR = 3600.0
_BATCH = 1000


async def trim_outbox(ctx: Context) -> None:
    """Drop events that nobody will ask for any more."""
    before = ctx.now() - timedelta(days=ctx.settings.database.outbox_days)
    while await events.trim(before, _BATCH) == _BATCH:
        pass


JOBS = [Job(name="outbox.trim", run=trim_outbox, every=_HOUR, exclusive=True)]
