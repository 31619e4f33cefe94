"""The organization."""

from terrapod_control_plane.kernel.slices import Slice
from terrapod_control_plane.organizations import api

SLICE = Slice(name="organizations", routes=api.ROUTES, kinds={"prj": "projects"})
