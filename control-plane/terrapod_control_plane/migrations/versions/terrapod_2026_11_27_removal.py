"""Indexes for what is removed after a while."""

from pathlib import Path

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from terrapod_control_plane.kernel import db

ID = "2026-11-27T01:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "indexes for what is removed"


async def forwards() -> MigrationManager:
    """Add them."""
    manager = MigrationManager(migration_id=ID, app_name="terrapod", description=DESCRIPTION)
    sql = Path(__file__).with_suffix(".sql").read_text()

    async def run() -> None:
        await db.execute(sql)

    manager.add_raw(run)
    return manager
