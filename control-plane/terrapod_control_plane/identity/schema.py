"""JSON:API shapes of users and tokens."""

from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, UnsetType, field

from terrapod_control_plane.kernel.jsonapi import Payload, Resource
from terrapod_control_plane.kernel.relations import one


class UserDoc(Resource, tag="users", kw_only=True):
    """A user."""

    username: str
    email: str
    is_service_account: bool
    avatar_url: str = ""
    v2_only: bool = False
    unconfirmed_email: str | None = None
    two_factor: dict[str, bool] = field(
        default_factory=lambda: {"enabled": False, "verified": False}
    )
    permissions: dict[str, bool] = field(
        default_factory=lambda: {
            "can-create-organizations": False,
            "can-change-email": False,
            "can-change-username": False,
            "can-manage-user-tokens": True,
        }
    )


class TokenDoc(Resource, tag="authentication-tokens", kw_only=True):
    """A token; its text only in the answer that made it."""

    at: ClassVar[str] = "/api/v2/authentication-tokens/{id}"
    description: str
    created_at: datetime
    last_used_at: datetime | None
    expired_at: datetime | None
    uses: int = 0
    max_uses: int | None = field(default=None)
    token: str | UnsetType = UNSET
    created_by: Annotated[str | None, one("users")] = None


class NewToken(Payload, kw_only=True):
    """A token to be made; clients send several types for it, all mean this."""

    description: str = ""
    expired_at: Annotated[datetime, Meta(tz=True)] | None = None
    max_uses: int | None = None
