"""Removes what nobody needs any more."""

import time
from pathlib import Path

import anyio
import structlog

from terrapod_agent.slots import Slots
from terrapod_agent.spool import orphans
from terrapod_agent.work import place
from terrapod_agent.work.folder import Damaged, Folder
from terrapod_agent.work.workshop import Workshop

log = structlog.get_logger()
_KEPT_DAYS = 30.0


def _holds_state(folder: Folder) -> bool:
    try:
        ticket = folder.ticket()
    except Damaged:
        return True
    return (
        ticket is not None and ticket.kind == "apply" and ticket.started and not ticket.state_stored
    )


async def sweep(shop: Workshop, slots: Slots) -> None:
    """Remove unused tools and what :func:`clear` finds, now and then."""
    while True:
        await anyio.to_thread.run_sync(shop.toolchain.sweep, shop.settings.tool_days)
        clear(shop.phases, slots)
        await anyio.to_thread.run_sync(place.sweep, shop.runs)
        await anyio.sleep(shop.settings.waits.sweep)


def clear(phases: Path, slots: Slots) -> None:
    """Remove folders whose content the server has refused for a month, but never a state."""
    for folder in orphans(phases, slots):
        if folder.path.stat().st_mtime >= time.time() - _KEPT_DAYS * 86400:
            continue
        if _holds_state(folder):
            log.error("a state still could not be handed in", folder=folder.path)
        else:
            log.error("removing a phase that could never be handed in", folder=folder.path)
            folder.remove()
