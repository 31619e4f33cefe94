"""Table of cached executables."""

from piccolo.columns import BigInt, Text, Timestamptz
from piccolo.table import Table

from terrapod_control_plane.kernel.db import ENGINE


class Tools(Table, tablename="tools", db=ENGINE):
    """One row an executable; its key is tool, version, os and arch."""

    tool = Text(primary_key=True)
    version = Text()
    os = Text()
    arch = Text()
    digest = Text()
    size = BigInt()
    created_at = Timestamptz()
