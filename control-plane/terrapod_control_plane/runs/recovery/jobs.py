"""Housekeeping of markers."""

from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.runs.recovery import service

_HOUR = 3600.0

JOBS = [Job(name="markers.deleted", run=service.forget_deleted, every=_HOUR, exclusive=True)]
