"""What may be done with tools."""

from terrapod_control_plane.kernel.policy import ADMIN, Action, Need, Where

TOOL_READ = Action("tool.read", Need(Where.PLATFORM))
TOOL_FETCH = Action("tool.fetch", Need(Where.PLATFORM), by_listeners=True)
TOOL_MANAGE = Action("tool.manage", Need(Where.PLATFORM, roles=ADMIN))
