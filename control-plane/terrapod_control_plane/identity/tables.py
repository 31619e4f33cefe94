"""Tables of users and tokens."""

from piccolo.columns import (
    Array,
    Boolean,
    Bytea,
    Integer,
    Text,
    Timestamptz,
)
from piccolo.table import Table

from terrapod_control_plane.kernel.db import ENGINE


class Users(Table, tablename="users", db=ENGINE):
    """One row a person."""

    id = Text(primary_key=True)
    email = Text()
    username = Text()
    is_active = Boolean(default=True)
    is_service_account = Boolean(default=False)
    roles = Array(Text(), default=list)
    created_at = Timestamptz()


class Tokens(Table, tablename="tokens", db=ENGINE):
    """One row a credential."""

    id = Text(primary_key=True)
    kind = Text()
    subject_id = Text()
    description = Text()
    digest = Bytea()
    created_by = Text(null=True)
    created_at = Timestamptz()
    last_used_at = Timestamptz(null=True, default=None)
    expires_at = Timestamptz(null=True, default=None)
    uses = Integer(default=0)
    uses_at_most = Integer(null=True, default=None)
