"""`terrapod serve`: the control plane, on two ports."""

import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec
import typer

from terrapod_common import logs
from terrapod_common.loops import Backoff, Loop, leaves, supervise
from terrapod_control_plane.certificates import ServedCertificates
from terrapod_control_plane.cli.settings import SettingsFile, read
from terrapod_control_plane.kernel.connecting import Unreachable
from terrapod_control_plane.kernel.postgres.home import PostgresFailed
from terrapod_control_plane.settings import Settings

if TYPE_CHECKING:
    from terrapod_control_plane import boot
    from terrapod_control_plane.kernel.bus import Bus
    from terrapod_control_plane.kernel.postgres.embedded import Embedded
    from terrapod_control_plane.web import tls


def serve(
    settings: SettingsFile = None,
    paused: Annotated[
        bool,
        typer.Option("--paused", help="Hand out nothing until `terrapod resume`: for a failover."),
    ] = False,
) -> None:
    """Run the control plane until SIGTERM or Ctrl-C.

    The first start makes everything: a database, keys, a certificate authority, an administrator.
    """
    from terrapod_control_plane.cli.database import started  # noqa: PLC0415 - slow to import

    effective = read(settings)
    logs.configure(effective.logging.format, effective.logging.level)
    _make(effective.data_dir)
    try:
        # The embedded server ends with this thread, so it is started here, in the main one.
        with started(effective) as (dsn, embedded):
            serving = partial(_serve, effective, dsn, embedded, paused=paused)
            anyio.run(serving, backend_options={"use_uvloop": True})
    except* _expected() as group:
        for error in leaves(group):
            typer.echo(f"terrapod can't run: {error}", err=True)
        raise typer.Exit(1) from None


def _expected() -> tuple[type[Exception], ...]:
    """What a line explains better than a traceback."""
    from terrapod_control_plane.kernel.crypto.keys import KeyMissing  # noqa: PLC0415
    from terrapod_control_plane.kernel.single_instance import NotAlone  # noqa: PLC0415
    from terrapod_control_plane.migrations.run import (  # noqa: PLC0415
        MigrationFailed,
        RestoreUnfinished,
    )
    from terrapod_control_plane.web.tls import ListenFailed  # noqa: PLC0415

    ours = (KeyMissing, ListenFailed, NotAlone, PostgresFailed, RestoreUnfinished, Unreachable)
    return (*ours, MigrationFailed)


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as refused:
        typer.echo(f"terrapod can't run: {data_dir}: {refused.strerror}", err=True)
        raise typer.Exit(1) from None


async def _serve(
    settings: Settings, dsn: str, embedded: "Embedded | None", *, paused: bool
) -> None:
    from terrapod_control_plane import boot  # noqa: PLC0415 - slow to import
    from terrapod_control_plane.web import tls  # noqa: PLC0415

    public, agents = _listeners(settings)
    try:
        public.bind()
        agents.bind()
        settings = _with_ports(settings, public.port, agents.port)
        async with boot.opened(settings, dsn, paused=paused) as opened:
            certificates = ServedCertificates(opened.services)
            certificates.give(public, agents)
            loops = [Loop("certificates", certificates.keep), *_watch(embedded, opened)]
            said = partial(_say, settings, opened)
            stop = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_stop_on_signal, stop, opened.services.bus)
                tasks.start_soon(supervise, loops, stop, Backoff())
                await tls.serve(
                    opened.asgi,
                    public,
                    agents,
                    stop=stop,
                    ready=said,
                    grace=settings.server.stop_grace_seconds,
                )
                tasks.cancel_scope.cancel()
    finally:
        public.close()
        agents.close()


def _listeners(settings: Settings) -> "tuple[tls.ListeningSocket, tls.ListeningSocket]":
    from terrapod_control_plane.web import limits, tls  # noqa: PLC0415 - slow to import

    server = settings.server
    files = limits.raise_open_files()
    people, machines = limits.of_ports(server, files, settings.database.pool_size)
    public = tls.ListeningSocket(server.host, server.port, limits=people)
    return public, tls.ListeningSocket(server.agent_host, server.agent_port, limits=machines)


def _watch(embedded: "Embedded | None", opened: "boot.Opened") -> list[Loop]:
    from terrapod_control_plane.kernel.postgres.watch import Watch  # noqa: PLC0415 - slow to import

    if embedded is None:
        return []
    services = opened.services
    patience = services.settings.database.dead_at_most_seconds
    watch = Watch(embedded, patience, lambda why: services.condition.saw({"database": why}))
    return [Loop("postgres", watch.keep)]


async def _stop_on_signal(stop: anyio.Event, bus: "Bus") -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            bus.close()  # long polls would keep their agents' connections for the whole grace
            stop.set()
            return


def _with_ports(settings: Settings, port: int, agent_port: int) -> Settings:
    server = msgspec.structs.replace(settings.server, port=port, agent_port=agent_port)
    return msgspec.structs.replace(settings, server=server)


def _say(settings: Settings, opened: "boot.Opened") -> None:
    data = settings.data_dir
    ca = data / "ca.pem"
    ca.write_bytes(opened.services.authority.cert_pem)
    (data / "url").write_text(settings.public_url + "\n")
    typer.echo(f"Terrapod is ready on {settings.public_url}, for agents on {settings.agent_url}")
    if settings.server.tls_cert_file is None:
        typer.echo(f"terraform trusts it with:  export SSL_CERT_FILE={ca}")
    token = settings.token_file
    if opened.first_token:
        typer.echo(f"The administrator {settings.first_admin} was made.")
        typer.echo(f"  API token, shown once: {opened.first_token}")
        typer.echo(f"  it also lies in {token}")
    elif token.exists():
        typer.echo(f"The administrator's API token lies in {token}")
