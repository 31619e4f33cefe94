"""Opens what the slices stand on, in order, and closes it in reverse."""

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import msgspec
from litestar import Litestar
from litestar.types import ASGIApp
from msgspec import Struct

from terrapod_common import files
from terrapod_common.loops import Backoff, Loop, supervise
from terrapod_control_plane import app
from terrapod_control_plane.health import internal as health
from terrapod_control_plane.identity import internal as identity
from terrapod_control_plane.kernel import consumers, db, epochs, jobs
from terrapod_control_plane.kernel.blobs.local import LocalBlobs
from terrapod_control_plane.kernel.blobs.sealed import SealedBlobs
from terrapod_control_plane.kernel.bus import Bus
from terrapod_control_plane.kernel.caches import Caches
from terrapod_control_plane.kernel.clock import Clock
from terrapod_control_plane.kernel.condition import Condition
from terrapod_control_plane.kernel.context import Services, system
from terrapod_control_plane.kernel.crypto import vault
from terrapod_control_plane.kernel.crypto.authority import Authority
from terrapod_control_plane.kernel.crypto.keys import KeyRing, Signer, ring_from
from terrapod_control_plane.kernel.database_clock import DatabaseClock
from terrapod_control_plane.kernel.ephemeral.memory import MemoryEphemeral
from terrapod_control_plane.kernel.locks import LockSession
from terrapod_control_plane.kernel.outbox_cursors import register
from terrapod_control_plane.kernel.single_instance import SingleInstanceLock, only_one
from terrapod_control_plane.kernel.spared import SparedBlobs
from terrapod_control_plane.migrations.run import migrate
from terrapod_control_plane.runs.phases.leases import internal as leases
from terrapod_control_plane.runs.recovery import internal as recovery
from terrapod_control_plane.settings import Settings
from terrapod_control_plane.web.middleware import RequestMiddleware

_BACKOFF = Backoff(first=0.2, longest=10.0)


class Opened(Struct, frozen=True, kw_only=True):
    """A control plane that is ready to be served."""

    services: Services
    app: Litestar
    asgi: ASGIApp  # the same with its edge, for servers
    first_token: str | None  # of the administrator, when this start made one


@asynccontextmanager
async def opened(
    settings: Settings, dsn: str, *, clock: Clock | None = None, paused: bool = False
) -> AsyncIterator[Opened]:
    """Everything open and the loops running, until the block ends; ``paused`` hands out nothing."""
    name, patience = socket.gethostname(), settings.database.alone_within_seconds
    async with (
        only_one(dsn, name, patience=patience) as alone,
        _database(dsn, settings),
        _locks(dsn) as locks,
    ):
        services = await _services(settings, clock or await DatabaseClock.connected(), locks)
        # Before anything happens, so that the first start is told of too.
        await register([one.name for one in app.consumers(settings)], services.clock.now())
        keep = partial(_keep_token, settings.token_file)
        first_token = await identity.first_admin(system(services), settings.first_admin, keep)
        if paused:
            await epochs.pause(services.clock.now(), "it was started with --paused")
        await recovery.look_for_markers(system(services))
        await leases.extend_all(system(services))
        await health.Looks().look(system(services))
        litestar = app.build(services)
        async with _running(_loops(services, dsn, alone)), litestar.lifespan():
            yield Opened(
                services=services,
                app=litestar,
                asgi=RequestMiddleware()(litestar),
                first_token=first_token,
            )


@asynccontextmanager
async def _database(dsn: str, settings: Settings) -> AsyncIterator[None]:
    await db.open_pool(dsn, size=2)
    try:
        await migrate(dsn, settings.data_dir)  # which may take its time
    finally:
        await db.close_pool()
    database = settings.database
    await db.open_pool(dsn, size=database.pool_size, answer_within=database.answer_seconds)
    try:
        yield
    finally:
        await db.close_pool()


@asynccontextmanager
async def _locks(dsn: str) -> AsyncIterator[LockSession]:
    locks = LockSession(dsn)
    try:
        yield locks
    finally:
        await locks.close()


def _keep_token(path: Path, token: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write_atomically(path, f"{token}\n".encode())


async def _services(settings: Settings, clock: Clock, locks: LockSession) -> Services:
    ring = await _ring(settings)
    signing = await vault.secret("url-signing", ring, lambda: KeyRing.generate().export().encode())
    authority = await vault.secret("authority", ring, partial(_new_authority, clock))
    data, caches = settings.data_dir, Caches()
    return Services(
        settings=settings,
        clock=clock,
        bus=Bus(caches),
        caches=caches,
        locks=locks,
        blobs=SparedBlobs(SealedBlobs(LocalBlobs(data / "blobs"), ring), "blobs"),
        binaries=SparedBlobs(LocalBlobs(data / "binaries"), "binaries"),
        ephemeral=MemoryEphemeral(time.monotonic),
        ring=ring,
        signer=Signer(signing, clock.now),
        authority=Authority(*msgspec.json.decode(authority, type=tuple[bytes, bytes])),
        resolvers={kind: caches.remembering(one) for kind, one in app.resolvers().items()},
        handlers=app.handlers(),
        agent_directory=app.agent_directory(),
        condition=Condition(time.monotonic, every=settings.server.look_every_seconds),
    )


def _new_authority(clock: Clock) -> bytes:
    made = Authority.create("Terrapod CA", clock.now())
    return msgspec.json.encode((made.cert_pem, made.key_pem))


async def _ring(settings: Settings) -> KeyRing:
    keys = settings.encryption.keys.reveal()
    may_create = not await vault.holds_any()
    return ring_from(keys, settings.data_dir / "keys", may_create=may_create)


def _loops(services: Services, dsn: str, alone: SingleInstanceLock) -> list[Loop]:
    listening = Loop("bus", lambda: services.bus.listen(dsn))
    alone_still = Loop("single-node", alone.keep)
    locked_still = Loop("locks", services.locks.keep)
    timing = []
    if isinstance(services.clock, DatabaseClock):
        timing.append(Loop("clock", partial(services.clock.keep, services.bus)))
    return [
        listening,
        alone_still,
        locked_still,
        *timing,
        *(jobs.loop(job, services) for job in app.jobs(services.settings)),
        *consumers.loops(app.consumers(services.settings), services),
    ]


@asynccontextmanager
async def _running(loops: list[Loop]) -> AsyncIterator[None]:
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervise, loops, stop, _BACKOFF, db.away)
        try:
            yield
        finally:
            stop.set()
