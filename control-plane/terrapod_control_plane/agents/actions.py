"""What may be done with pools and agents, and by agents."""

from terrapod_control_plane.kernel.policy import ADMIN, AUDIT, Action, Need, Where

POOL_READ = Action("pool.read", Need(Where.PLATFORM))
POOL_MANAGE = Action("pool.manage", Need(Where.PLATFORM, roles=ADMIN))
JOIN_TOKEN_READ = Action("join-token.read", Need(Where.PLATFORM, roles=AUDIT))
JOIN_TOKEN_MANAGE = Action("join-token.manage", Need(Where.PLATFORM, roles=ADMIN))
LISTENER_READ = Action("listener.read", Need(Where.PLATFORM, roles=AUDIT))
LISTENER_MANAGE = Action("listener.manage", Need(Where.PLATFORM, roles=ADMIN))
LISTENER_ACT = Action("listener.act", Need(Where.LISTENER))
