"""What runs need done when nobody asks."""

from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.runs.logs import service as logs
from terrapod_control_plane.runs.work.sweep import Sweep
from terrapod_control_plane.settings import Settings


def jobs(settings: Settings) -> list[Job]:
    """Leases, limits and queues; logs of ended phases."""
    every = settings.runs.sweep_seconds
    return [
        Job(name="runs.sweep", run=Sweep(every).turn, every=every),
        Job(name="runs.archive-logs", run=logs.archive, every=max(every, 5.0)),
    ]
