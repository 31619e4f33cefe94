"""What may be done with all runs together."""

from terrapod_control_plane.kernel.policy import ADMIN, AUDIT, Action, Need, Where

QUEUE_READ = Action("queue.read", Need(Where.PLATFORM))
RECOVERY_READ = Action("recovery.read", Need(Where.PLATFORM, roles=AUDIT))
RECOVERY_RESUME = Action("recovery.resume", Need(Where.PLATFORM, roles=ADMIN))
