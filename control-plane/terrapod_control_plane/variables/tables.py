"""Table of variables."""

from piccolo.columns import Boolean, Bytea, Text, Timestamptz
from piccolo.table import Table

from terrapod_control_plane.kernel.db import ENGINE


class Variables(Table, tablename="variables", db=ENGINE):
    """One row a variable."""

    id = Text(primary_key=True)
    workspace_id = Text()
    key = Text()
    sealed = Bytea()
    category = Text()
    hcl = Boolean()
    sensitive = Boolean()
    description = Text()
    version_id = Text()
    created_at = Timestamptz()
