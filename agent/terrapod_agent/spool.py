"""What must reach the server even after a crash.

The spool is the folders of the phases themselves: a ticket that was synced to the disk, the log
and the state. Whatever an agent before us left is picked up here.
"""

from functools import partial
from pathlib import Path

import anyio
import msgspec
import structlog

from terrapod_agent.executors.process import wait_for_survivor
from terrapod_agent.slots import ActivePhase, Slots
from terrapod_agent.work.apply_outcome import recovered_outcome
from terrapod_agent.work.deliver import deliver
from terrapod_agent.work.dependencies import PhaseDependencies
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket, TicketDamaged, existing_folders
from terrapod_common import wire

log = structlog.get_logger()


def orphaned_folders(phases: Path, slots: Slots) -> list[PhaseFolder]:
    """The folders that no phase of this process works in."""
    ours = {f"{active.phase_id}.{active.fence}" for active in slots.active_phases}
    return [folder for folder in existing_folders(phases) if folder.path.name not in ours]


def started_applies(phases: Path, slots: Slots) -> list[wire.HeldPhase]:
    """The applies of agents before us that had started; of any others nothing is left here."""
    found = ((folder, _ticket_of(folder)) for folder in orphaned_folders(phases, slots))
    return [
        folder.held_phase
        for folder, ticket in found
        if folder.held_phase is not None
        and (
            isinstance(ticket, TicketDamaged)
            or (ticket is not None and ticket.kind == "apply" and ticket.started)
        )
    ]


def _ticket_of(folder: PhaseFolder) -> Ticket | TicketDamaged | None:
    try:
        return folder.load_ticket()
    except TicketDamaged as damaged:
        return damaged


async def recover(deps: PhaseDependencies, slots: Slots, folder: PhaseFolder) -> None:
    """Wait until nothing runs in the folder any more, then hand in what it holds."""
    ticket = _ticket_of(folder)
    if isinstance(ticket, TicketDamaged):
        await _keep_damaged(deps, slots, folder, ticket)
        return
    if str(folder.path) in slots.damaged:  # a person has mended it
        slots.damaged.remove(str(folder.path))
    if ticket is None or ticket.kind == "plan" or not ticket.started:
        await _discard(deps, slots, folder, ticket)
        return
    active = ActivePhase(ticket.run_id, ticket.phase_id, ticket.fence, ticket.kind)
    active.workspace, active.step, active.claim = ticket.workspace, "recovering", ticket.claim
    # Heartbeats that name it keep the lease of a phase whose agent was only restarted.
    slots.add(active)
    try:
        await _wait_for_survivor(deps, folder)
        if ticket.outcome is None:
            left = partial(recovered_outcome, folder, ticket)
            ticket = msgspec.structs.replace(ticket, outcome=await anyio.to_thread.run_sync(left))
            folder.try_save_ticket(ticket)
        log.info("handing in what an earlier agent left", run=ticket.run_id)
        await deliver(deps, folder, ticket)
    finally:
        slots.remove(active)


async def _discard(
    deps: PhaseDependencies, slots: Slots, folder: PhaseFolder, ticket: Ticket | None
) -> None:
    await _wait_for_survivor(deps, folder)
    if ticket is not None and ticket.outcome is not None:
        await deliver(deps, folder, ticket)
        return
    # The server gives the phase to another agent as soon as it knows.
    log.info("dropping a phase that was cut off", folder=folder.path.name)
    await anyio.to_thread.run_sync(folder.remove)
    if folder.held_phase is not None:  # the kill may have come before its ticket was written
        slots.drop_phase(folder.held_phase)


async def _keep_damaged(
    deps: PhaseDependencies, slots: Slots, folder: PhaseFolder, damaged: TicketDamaged
) -> None:
    """Nobody but a person can tell what is in the folder; the server need not wait for it."""
    if str(folder.path) in slots.damaged:
        return
    await _wait_for_survivor(deps, folder)
    log.error("a phase can't be handed in, and is kept", reason=str(damaged))
    slots.damaged.append(str(folder.path))
    if folder.held_phase is not None:
        slots.drop_phase(folder.held_phase)


async def _wait_for_survivor(deps: PhaseDependencies, folder: PhaseFolder) -> None:
    look_every = deps.settings.waits.survivor
    await wait_for_survivor(folder.lock, folder.exit("main"), look_every)
