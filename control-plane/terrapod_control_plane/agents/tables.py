"""Tables of pools and listeners."""

from piccolo.columns import Boolean, Integer, Text, Timestamptz
from piccolo.table import Table

from terrapod_control_plane.kernel.db import ENGINE


class Pools(Table, tablename="agent_pools", db=ENGINE):
    """One row a pool."""

    id = Text(primary_key=True)
    name = Text()
    service_account_name = Text()
    created_at = Timestamptz()


class Listeners(Table, tablename="listeners", db=ENGINE):
    """One row an agent's identity."""

    id = Text(primary_key=True)
    pool_id = Text()
    name = Text()
    public_key = Text()
    version = Text()
    platform = Text()
    slots = Integer()
    draining = Boolean()
    trouble = Text()
    created_at = Timestamptz()
    last_seen_at = Timestamptz(null=True, default=None)
    revoked_at = Timestamptz(null=True, default=None)
    root = Text(null=True, default=None)


class Certificates(Table, tablename="certificates", db=ENGINE):
    """One row a certificate."""

    fingerprint = Text(primary_key=True)
    listener_id = Text()
    not_after = Timestamptz()
    revoked_at = Timestamptz(null=True, default=None)
