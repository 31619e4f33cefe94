"""Table of configuration versions."""

from piccolo.columns import JSONB, BigInt, Boolean, Text, Timestamptz
from piccolo.table import Table

from terrapod_control_plane.kernel.db import ENGINE


class ConfigurationVersions(Table, tablename="configuration_versions", db=ENGINE):
    """One row an upload."""

    id = Text(primary_key=True)
    workspace_id = Text()
    created_by = Text(null=True)
    created_at = Timestamptz()
    status = Text()
    error_message = Text()
    source = Text()
    speculative = Boolean()
    provisional = Boolean()
    auto_queue_runs = Boolean()
    status_timestamps = JSONB()
    size = BigInt()
    digest = Text()
