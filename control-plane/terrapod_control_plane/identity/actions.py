"""What may be done with accounts and tokens."""

from terrapod_control_plane.kernel.policy import Action, Level, Need, Where

ACCOUNT_READ = Action("account.read", Need(Where.PLATFORM))
TOKEN_READ = Action("token.read", Need(Where.USER, Level.READ))
TOKEN_MANAGE = Action("token.manage", Need(Where.USER, Level.WRITE))
