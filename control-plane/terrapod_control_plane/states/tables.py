"""Table of state versions; their excerpts are written in bulk, by plain SQL."""

from piccolo.columns import BigInt, Boolean, Integer, Text, Timestamptz
from piccolo.table import Table

from terrapod_control_plane.kernel.db import ENGINE


class StateVersions(Table, tablename="state_versions", db=ENGINE):
    """One row a version; the database numbers them."""

    id = Text(primary_key=True)
    workspace_id = Text()
    run_id = Text(null=True, default=None)
    created_by = Text(null=True, default=None)
    created_at = Timestamptz()
    status = Text()
    intermediate = Boolean()
    serial = BigInt()
    lineage = Text()
    md5 = Text()
    size = BigInt()
    force = Boolean()
    terraform_version = Text()
    resource_count = Integer()
    output_count = Integer(null=True, default=None)
    finalized_at = Timestamptz(null=True, default=None)
    number = BigInt()
