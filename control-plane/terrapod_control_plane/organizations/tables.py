"""Table of the organization."""

from piccolo.columns import Text, Timestamptz
from piccolo.table import Table

from terrapod_control_plane.kernel.db import ENGINE


class Organizations(Table, tablename="organizations", db=ENGINE):
    """One row, made by the first migration."""

    id = Text(primary_key=True)
    default_agent_pool_id = Text(null=True)
    created_at = Timestamptz()
