"""Housekeeping of markers."""

from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.runs.recovery import internal
from terrapod_control_plane.settings import Settings

_HOUR = 3600.0


def jobs(_: Settings) -> list[Job]:
    """What runs by itself."""
    return [Job(name="markers.deleted", run=internal.forget_deleted, every=_HOUR, exclusive=True)]
