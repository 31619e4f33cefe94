"""Looks at every part."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import structlog
from anyio import to_thread

from terrapod_control_plane.health import model
from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.condition import try_database
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.outbox_lag import Lag, lags
from terrapod_control_plane.kernel.postgres.home import recorded_folder

_PATIENCE = 3.0


# What has to be written for the look is written at each of so many looks, and while it fails.
_WRITES_EVERY = 5


# Below this the next larger write fails.
_SPACE = 8 * 1024 * 1024


log = structlog.get_logger()


class Looks:
    """Looks at every part, and says in the log when that changes."""

    def __init__(self) -> None:
        self._number = 0
        self._last: dict[str, str] = {}

    async def look(self, ctx: Context) -> None:
        """Look once."""
        write = self._number % _WRITES_EVERY == 0
        self._number += 1
        found: dict[str, str] = {}

        async def ask(part: str, check: Callable[[], Awaitable[object]]) -> None:
            found[part] = await _trouble(check)

        embedded = not ctx.settings.database.url.reveal()
        async with anyio.create_task_group() as asking:
            asking.start_soon(ask, "database", lambda: try_database(write=write or self._bad))
            asking.start_soon(ask, "redis", ctx.services.ephemeral.check)
            if write or self._bad:
                asking.start_soon(ask, "storage", ctx.services.blobs.check)
        if embedded and not found["database"]:
            found["database"] = await to_thread.run_sync(_no_space, ctx.settings.data_dir)
        self._tell(found)
        ctx.services.condition.saw(found)
        if not found["database"]:
            ctx.services.condition.paused = await epochs.paused() is not None

    @property
    def _bad(self) -> bool:
        return any(self._last.values())

    def _tell(self, found: dict[str, str]) -> None:
        for part, trouble in found.items():
            before = self._last.get(part, "")
            if trouble and not before:
                log.warning("not ready", part=part, error=trouble)
            elif before and not trouble:
                log.warning("ready again", part=part)
        self._last |= found


class LagWatch:
    """Looks how far consumers are behind; tells it once, and again when it has doubled."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}  # consumer -> the age that the last line told

    async def look(self, ctx: Context) -> None:
        """Look once."""
        found = await lags()
        ctx.services.condition.lags = found
        for lag in found:
            self._tell(lag, lag.age(ctx.now()))

    def _tell(self, lag: Lag, age: float) -> None:
        told = self._told.get(lag.consumer)
        about = {"consumer": lag.consumer, "behind": lag.behind, "oldest_seconds": int(age)}
        if age < model.LATE:
            if self._told.pop(lag.consumer, None) is not None:
                log.warning("a consumer has caught up", **about)
        elif told is None or age >= 2 * told:
            self._told[lag.consumer] = age
            log.warning("a consumer is late", attempts=lag.attempts, error=lag.error, **about)


async def _trouble(check: Callable[[], Awaitable[object]]) -> str:
    try:
        with anyio.fail_after(_PATIENCE):
            await check()
    except (OSError, TimeoutError, *db.BROKEN) as error:
        return str(error) or type(error).__name__
    return ""


def _no_space(data_dir: Path) -> str:
    folder = recorded_folder(data_dir / "postgres") or data_dir
    try:
        left = shutil.disk_usage(folder).free
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return "" if left >= _SPACE else f"{folder} has {left} bytes left"
