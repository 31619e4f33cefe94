"""Liveness and readiness."""

from collections.abc import Awaitable, Callable
from typing import Literal

import anyio
import structlog
from msgspec import Struct

from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.context import Context, internal

Health = Literal["healthy", "unhealthy"]
_PATIENCE = 3.0

log = structlog.get_logger()


class Checks(Struct, frozen=True):
    """The parts that every request may need; `redis` is the ephemeral store, whatever it is."""

    database: Health
    redis: Health
    storage: Health


class Readiness(Struct, frozen=True, omit_defaults=True):
    """The answer of ``GET /ready``."""

    status: Literal["ready", "not ready"]
    checks: Checks
    paused: bool = False  # ready, but nothing is handed out until `terrapod resume`


@internal
async def readiness(ctx: Context) -> Readiness:
    """Ask every part."""
    checks = Checks(
        await _ask("database", lambda: db.value("select 1")),
        await _ask("redis", ctx.parts.ephemeral.check),
        await _ask("storage", ctx.parts.blobs.check),
    )
    healthy = {checks.database, checks.redis, checks.storage} == {"healthy"}
    paused = checks.database == "healthy" and await epochs.paused() is not None
    return Readiness("ready" if healthy else "not ready", checks, paused)


async def _ask(name: str, check: Callable[[], Awaitable[object]]) -> Health:
    try:
        with anyio.fail_after(_PATIENCE):
            await check()
    except (OSError, TimeoutError, *db.BROKEN) as error:
        log.warning("not ready", part=name, error=str(error))
        return "unhealthy"
    return "healthy"
