"""Variables of workspaces."""

from terrapod_control_plane.kernel.slices import Slice
from terrapod_control_plane.variables import api, internal

SLICE = Slice(
    name="variables", routes=api.ROUTES, kinds={"var": "vars"}, scopes={"var": internal.scope}
)
