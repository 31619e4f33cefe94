"""The database of a command: the embedded one, started here, or a server by its URL."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from terrapod_control_plane.kernel.postgres import running
from terrapod_control_plane.kernel.postgres.embedded import Embedded
from terrapod_control_plane.kernel.postgres.home import PostgresFailed
from terrapod_control_plane.settings import Settings


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The DSN to connect to; the embedded server is stopped when the block ends."""
    with started(settings) as (dsn, _):
        yield dsn


@contextmanager
def started(settings: Settings) -> Iterator[tuple[str, Embedded | None]]:
    """The same, with the embedded server if it is that, for who stays long enough to watch it."""
    if url := settings.database.url.reveal():
        yield url, None
        return
    embedded = Embedded(
        settings.data_dir / "postgres", start_timeout=settings.database.start_timeout_seconds
    )
    try:
        dsn = embedded.start()
    except PostgresFailed as error:
        typer.echo(f"The embedded PostgreSQL can't start: {error}", err=True)
        raise typer.Exit(1) from None
    try:
        yield dsn, embedded
    finally:
        embedded.stop()


@contextmanager
def database_beside(settings: Settings) -> Iterator[str]:
    """The same for a command that works beside a running server; never makes a new database."""
    data = settings.data_dir / "postgres"
    dsn = None
    if not settings.database.url.reveal():
        try:
            dsn = running.running(data)
        except PostgresFailed as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
        if dsn is None and not running.exists(data):
            typer.echo(f"There is no database in {settings.data_dir}.", err=True)
            raise typer.Exit(1)
    if dsn is not None:
        yield dsn
        return
    with database(settings) as started:
        yield started
