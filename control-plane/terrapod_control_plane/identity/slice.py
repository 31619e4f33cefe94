"""Accounts and tokens."""

from terrapod_control_plane.identity import api, internal
from terrapod_control_plane.identity.schema import UserDoc
from terrapod_control_plane.kernel.related import presented
from terrapod_control_plane.kernel.slices import Slice

SLICE = Slice(
    name="identity",
    routes=api.ROUTES,
    kinds={"user": "users", "at": "authentication-tokens"},
    scopes={"user": internal.user_scope, "at": internal.token_scope},
    related={"users": presented(internal.users, UserDoc)},
    by_token=internal.holder,
)
