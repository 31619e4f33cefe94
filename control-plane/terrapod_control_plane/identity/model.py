"""Users and tokens."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

TokenKind = Literal["user", "join"]


class User(Struct, frozen=True, kw_only=True):
    """A person or a service account."""

    id: str
    email: str
    username: str
    is_active: bool
    is_service_account: bool
    roles: list[str]
    created_at: datetime


class Token(Struct, frozen=True, kw_only=True):
    """A credential, stored as a digest; its subject is a user or an agent pool."""

    id: str
    kind: TokenKind
    subject_id: str
    description: str
    digest: bytes
    created_by: str | None
    created_at: datetime
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    uses: int = 0
    uses_at_most: int | None = None

    @property
    def expired_at(self) -> datetime | None:
        """When it ends, under the name that clients know."""
        return self.expires_at

    @property
    def max_uses(self) -> int | None:
        """How often a join token may be used, under the name that clients know."""
        return self.uses_at_most


class Minted(Struct, frozen=True, kw_only=True):
    """A new token and its text, which is shown this once."""

    stored: Token
    text: str
