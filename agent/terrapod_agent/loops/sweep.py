"""Removes what nobody needs any more."""

import time

import anyio
import structlog

from terrapod_agent.slots import Slots
from terrapod_agent.spool import orphans
from terrapod_agent.work.workshop import Workshop

log = structlog.get_logger()
_KEPT_DAYS = 30.0


async def sweep(shop: Workshop, slots: Slots) -> None:
    """Remove unused tools, and folders whose content the server has refused for a month."""
    while True:
        await anyio.to_thread.run_sync(shop.toolchain.sweep, shop.settings.tool_days)
        for folder in orphans(shop.phases, slots):
            if folder.path.stat().st_mtime < time.time() - _KEPT_DAYS * 86400:
                log.error("removing a phase that could never be handed in", folder=folder.path)
                folder.remove()
        await anyio.sleep(shop.settings.waits.sweep)
