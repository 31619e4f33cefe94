"""What must reach the server even after a crash.

The spool is the folders of the phases themselves: a ticket that was synced to the disk, the log
and the state. Whatever an agent before us left is picked up here.
"""

from functools import partial
from pathlib import Path

import anyio
import msgspec
import structlog

from terrapod_agent.executors.process import survivor_gone
from terrapod_agent.slots import Hold, Slots
from terrapod_agent.work.deliver import deliver
from terrapod_agent.work.ended import left_behind
from terrapod_agent.work.folder import Damaged, Folder, Ticket, leftovers
from terrapod_agent.work.workshop import Workshop
from terrapod_common import wire

log = structlog.get_logger()


def orphans(phases: Path, slots: Slots) -> list[Folder]:
    """The folders that no phase of this process works in."""
    ours = {f"{hold.phase_id}.{hold.fence}" for hold in slots.holds}
    return [folder for folder in leftovers(phases) if folder.path.name not in ours]


def kept(phases: Path, slots: Slots) -> list[wire.Holding]:
    """The applies of agents before us that had started; of any others nothing is left here."""
    found = ((folder, _ticket(folder)) for folder in orphans(phases, slots))
    return [
        folder.holding
        for folder, ticket in found
        if folder.holding is not None
        and (
            isinstance(ticket, Damaged)
            or (ticket is not None and ticket.kind == "apply" and ticket.started)
        )
    ]


def _ticket(folder: Folder) -> Ticket | Damaged | None:
    try:
        return folder.ticket()
    except Damaged as damaged:
        return damaged


async def pick_up(shop: Workshop, slots: Slots, folder: Folder) -> None:
    """Wait until nothing runs in the folder any more, then hand in what it holds."""
    ticket = _ticket(folder)
    if isinstance(ticket, Damaged):
        await _leave(shop, slots, folder, ticket)
        return
    if str(folder.path) in slots.damaged:  # a person has mended it
        slots.damaged.remove(str(folder.path))
    if ticket is None or ticket.kind == "plan" or not ticket.started:
        await _drop(shop, slots, folder, ticket)
        return
    hold = Hold(ticket.run_id, ticket.phase_id, ticket.fence, ticket.kind)
    hold.workspace, hold.step, hold.claim = ticket.workspace, "recovering", ticket.claim
    # Beats that name it keep the lease of a phase whose agent was only restarted.
    slots.add(hold)
    try:
        await _survivor(shop, folder)
        if ticket.outcome is None:
            left = partial(left_behind, folder, ticket)
            ticket = msgspec.structs.replace(ticket, outcome=await anyio.to_thread.run_sync(left))
            folder.note(ticket)
        log.info("handing in what an earlier agent left", run=ticket.run_id)
        await deliver(shop, folder, ticket)
    finally:
        slots.remove(hold)


async def _drop(shop: Workshop, slots: Slots, folder: Folder, ticket: Ticket | None) -> None:
    await _survivor(shop, folder)
    if ticket is not None and ticket.outcome is not None:
        await deliver(shop, folder, ticket)
        return
    # The server gives the phase to another agent as soon as it knows.
    log.info("dropping a phase that was cut off", folder=folder.path.name)
    await anyio.to_thread.run_sync(folder.remove)
    if folder.holding is not None:  # the kill may have come before its ticket was written
        slots.drop(folder.holding)


async def _leave(shop: Workshop, slots: Slots, folder: Folder, damaged: Damaged) -> None:
    """Nobody but a person can tell what is in the folder; the server need not wait for it."""
    if str(folder.path) in slots.damaged:
        return
    await _survivor(shop, folder)
    log.error("a phase can't be handed in, and is kept", reason=str(damaged))
    slots.damaged.append(str(folder.path))
    if folder.holding is not None:
        slots.drop(folder.holding)


async def _survivor(shop: Workshop, folder: Folder) -> None:
    look_every = shop.settings.waits.survivor
    await survivor_gone(folder.lock, folder.exit("main"), look_every)
