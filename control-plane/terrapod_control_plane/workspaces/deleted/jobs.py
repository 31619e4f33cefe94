"""What becomes of the contents of deleted workspaces."""

from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.workspaces.deleted import service

_HOUR = 3600.0

JOBS = [Job(name="workspaces.clean-deleted", run=service.clean, every=_HOUR)]
