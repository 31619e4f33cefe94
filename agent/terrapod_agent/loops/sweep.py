"""Removes what nobody needs any more."""

import time
from pathlib import Path

import anyio
import structlog

from terrapod_agent.slots import Slots
from terrapod_agent.spool import orphaned_folders
from terrapod_agent.work import run_folder
from terrapod_agent.work.dependencies import PhaseDependencies
from terrapod_agent.work.phase_folder import PhaseFolder, TicketDamaged

log = structlog.get_logger()
_KEPT_DAYS = 30.0


def _holds_state(folder: PhaseFolder) -> bool:
    try:
        ticket = folder.load_ticket()
    except TicketDamaged:
        return True
    return (
        ticket is not None and ticket.kind == "apply" and ticket.started and not ticket.state_stored
    )


async def sweep(deps: PhaseDependencies, slots: Slots) -> None:
    """Remove unused tools and what :func:`remove_refused` finds, now and then."""
    while True:
        await anyio.to_thread.run_sync(deps.toolchain.sweep, deps.settings.tool_days)
        remove_refused(deps.phases, slots)
        await anyio.to_thread.run_sync(run_folder.remove_abandoned, deps.runs)
        await anyio.sleep(deps.settings.waits.sweep)


def remove_refused(phases: Path, slots: Slots) -> None:
    """Remove folders whose content the server has refused for a month, but never a state."""
    for folder in orphaned_folders(phases, slots):
        if folder.path.stat().st_mtime >= time.time() - _KEPT_DAYS * 86400:
            continue
        if _holds_state(folder):
            log.error("a state still could not be handed in", folder=folder.path)
        else:
            log.error("removing a phase that could never be handed in", folder=folder.path)
            folder.remove()
