"""What agents call on their own port."""

from terrapod_control_plane.agent_api import api
from terrapod_control_plane.agent_api.remote_state import api as remote_state_api
from terrapod_control_plane.kernel.slices import Slice

SLICE = Slice(
    name="agent_api",
    agent_routes=[*api.ROUTES, *remote_state_api.ROUTES],
    agent_dependencies={"lease": api.lease_of_request},
)
