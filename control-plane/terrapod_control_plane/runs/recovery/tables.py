"""Table of what the database does not know."""

from piccolo.columns import BigInt, Text, Timestamptz
from piccolo.table import Table

from terrapod_control_plane.kernel.db import ENGINE


class RecoveryFindings(Table, tablename="recovery_findings", db=ENGINE):
    """One row an apply that went on in a later life of the database."""

    phase_id = Text(primary_key=True)
    workspace_id = Text()
    workspace_name = Text()
    run_id = Text()
    fence = BigInt()
    told_by = Text()
    at = Timestamptz()
