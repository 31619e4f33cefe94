"""What logs need done when nobody asks."""

from functools import partial

from terrapod_common.loops import Backoff, Retries
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.runs.logs import internal
from terrapod_control_plane.settings import Settings

_LONGEST = 3600.0


def jobs(settings: Settings) -> list[Job]:
    """Logs of ended phases become blobs."""
    every = max(settings.runs.sweep_seconds, 5.0)
    retries = Retries(Backoff(first=every, longest=_LONGEST))
    archive = partial(internal.archive, retries=retries)
    return [Job(name="runs.archive-logs", run=archive, every=every)]
