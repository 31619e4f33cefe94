"""What may be done with the organization."""

from terrapod_control_plane.kernel.policy import Action, Need, Where

ORGANIZATION_READ = Action("organization.read", Need(Where.PLATFORM))
