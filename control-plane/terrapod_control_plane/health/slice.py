"""Whether the server lives and is ready, and the housekeeping of its kernel."""

from terrapod_control_plane.health import api, jobs
from terrapod_control_plane.kernel.slices import Slice

SLICE = Slice(name="health", root_routes=api.ROUTES, jobs=[jobs.jobs], consumers=[jobs.consumers])
