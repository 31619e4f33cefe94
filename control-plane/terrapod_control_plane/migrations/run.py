"""Brings the database to the schema that this version needs."""

import contextlib
import io
import os

import structlog
from piccolo.apps.migrations.commands.forwards import run_forwards

from terrapod_control_plane.kernel import db

log = structlog.get_logger()


class MigrationFailed(Exception):
    """The schema could not be brought up to date; the message holds what piccolo said."""


async def migrate(dsn: str) -> None:
    """Apply what is missing; several processes may start at once, one at a time gets here."""
    # piccolo finds its configuration by this variable and by nothing else.
    os.environ["PICCOLO_CONF"] = "terrapod_control_plane.migrations.piccolo_conf"
    said = io.StringIO()
    async with db.advisory_lock(dsn, "migrations"):
        with contextlib.redirect_stdout(said):
            result = await run_forwards("terrapod")
    log.debug("migrations", said=said.getvalue().strip())
    if not result.success:
        raise MigrationFailed(f"{result.message}\n{said.getvalue().strip()}")
