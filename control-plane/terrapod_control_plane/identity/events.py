"""What happened to users and tokens."""

from typing import ClassVar

from terrapod_control_plane.kernel.caches import CREDENTIALS
from terrapod_control_plane.kernel.outbox import Event


class UserCreated(Event, frozen=True, kw_only=True):
    """A user exists."""

    kind: ClassVar[str] = "user.created"
    user: str
    email: str

    @property
    def subject(self) -> str:
        """The user."""
        return self.user


class TokenCreated(Event, frozen=True, kw_only=True):
    """A token was made for a user or a pool."""

    kind: ClassVar[str] = "token.created"
    token: str
    of: str

    @property
    def subject(self) -> str:
        """The token."""
        return self.token


class TokenDeleted(Event, frozen=True, kw_only=True):
    """A token is gone."""

    kind: ClassVar[str] = "token.deleted"
    token: str
    of: str

    @property
    def changes(self) -> tuple[str, ...]:
        """Who holds which token."""
        return (CREDENTIALS,)

    @property
    def subject(self) -> str:
        """The token."""
        return self.token
