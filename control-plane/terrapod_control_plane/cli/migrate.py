"""`terrapod migrate`: the schema, without serving."""

import anyio
import typer

from terrapod_control_plane.cli.settings import SettingsFile, read


def migrate(settings: SettingsFile = None) -> None:
    """Bring the database to this version's schema; `serve` does it by itself."""
    from terrapod_control_plane.cli.database import database  # noqa: PLC0415 - slow to import
    from terrapod_control_plane.kernel import db  # noqa: PLC0415
    from terrapod_control_plane.migrations import run  # noqa: PLC0415

    async def migrated(dsn: str) -> None:
        await db.open_pool(dsn, size=2)
        try:
            await run.migrate(dsn, effective.data_dir)
        finally:
            await db.close_pool()

    effective = read(settings)
    with database(effective) as dsn:
        try:
            anyio.run(migrated, dsn)
        except (run.RestoreUnfinished, run.MigrationFailed) as error:
            typer.echo(f"The schema stays as it is: {error}", err=True)
            raise typer.Exit(1) from None
    typer.echo("The schema is up to date.")
