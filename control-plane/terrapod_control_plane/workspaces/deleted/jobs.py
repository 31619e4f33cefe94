"""What becomes of the contents of deleted workspaces."""

from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.settings import Settings
from terrapod_control_plane.workspaces.deleted import internal

_HOUR = 3600.0


def jobs(_: Settings) -> list[Job]:
    """What runs by itself."""
    return [Job(name="workspaces.clean-deleted", run=internal.clean, every=_HOUR)]
