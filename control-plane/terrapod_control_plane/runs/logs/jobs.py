"""What logs need done when nobody asks."""

from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.runs.logs import service
from terrapod_control_plane.settings import Settings


def jobs(settings: Settings) -> list[Job]:
    """Logs of ended phases become blobs."""
    every = max(settings.runs.sweep_seconds, 5.0)
    return [Job(name="runs.archive-logs", run=service.archive, every=every)]
