"""Hands in the outcome of a phase: first the state, then the log, then the report."""

from functools import partial

import anyio
import msgspec
import structlog

from terrapod_agent.contact import insist
from terrapod_agent.trouble import Denied, FenceLost, Trouble
from terrapod_agent.work import state
from terrapod_agent.work.folder import Folder, Ticket
from terrapod_agent.work.logs import LogSender, MaskedLog
from terrapod_agent.work.workshop import Workshop
from terrapod_common import protocol, wire

log = structlog.get_logger()
_FAILED = 500


async def deliver(shop: Workshop, folder: Folder, ticket: Ticket) -> None:
    """Bring home what the ticket's outcome needs. May be done again after a crash at any point.

    The folder is removed once nothing in it matters any more; a state that the server refuses
    stays, and is offered again later.
    """
    ours = True
    if ticket.kind == "apply" and ticket.started and not ticket.state_stored:
        ticket, ours = await _state(shop, folder, ticket)
    if ours and not ticket.reported:
        if not await _rest(shop, folder, ticket):
            return
        ticket = msgspec.structs.replace(ticket, reported=True)
        folder.keep(ticket)
    if ticket.state_stored or ticket.kind == "plan" or not ticket.started:
        await anyio.to_thread.run_sync(folder.remove)


def sender(shop: Workshop, folder: Folder, ticket: Ticket) -> LogSender:
    """What sends the log of this phase."""
    masked = MaskedLog(folder.log, ticket.secrets, ticket.log_limit)
    return LogSender(shop.client, masked, ticket.phase_id, ticket.fence)


async def _state(shop: Workshop, folder: Folder, ticket: Ticket) -> tuple[Ticket, bool]:
    reached = await anyio.to_thread.run_sync(state.reached, folder, ticket)
    content = reached.content
    put = partial(shop.client.send, protocol.STATE_PUT, phase_id=ticket.phase_id)
    ours, stored = True, True
    if content is not None:
        try:
            await insist(partial(put, content, fence=ticket.fence, final="true"), shop.backoff)
        except FenceLost:
            ours, stored = False, await _recovered(shop, ticket, content)
        except Denied as denied:
            stored = False
            log.warning("the state was refused; it is kept", folder=folder.path, reason=str(denied))
    if stored and reached.doubt:
        stored = False  # the server holds the workspace, and the folder stays for a person
        path = folder.path
        log.error("the state of an apply is not whole", folder=path, reason=reached.doubt)
    ticket = msgspec.structs.replace(ticket, state_stored=stored)
    folder.keep(ticket)
    return ticket, ours


async def _recovered(shop: Workshop, ticket: Ticket, content: bytes) -> bool:
    put = partial(shop.client.send, protocol.RECOVERED, phase_id=ticket.phase_id)
    try:
        await insist(partial(put, content, fence=ticket.fence), shop.backoff)
    except Denied as denied:
        log.warning("a recovered state was refused; it is kept", reason=str(denied))
        return False
    log.warning("the state of a lost apply was handed in", run=ticket.run_id)
    return True


async def _rest(shop: Workshop, folder: Folder, ticket: Ticket) -> bool:
    """The rest of the log and the report, as far as the server still takes them.

    False when the server failed at it: then all of it stays and is offered again.
    """
    assert ticket.outcome is not None
    try:
        size = await sender(shop, folder, ticket).finish(shop.backoff)
        report = _addressed(ticket, ticket.outcome, size)
        try:
            await _report(shop, ticket, report)
        except Denied as denied:
            if denied.status == _FAILED:
                raise
            await _again(shop, folder, ticket, denied)
    except FenceLost:
        log.info("the outcome of a phase came too late", phase=ticket.phase_id)
    except Trouble as trouble:
        log.warning("an outcome was refused", phase=ticket.phase_id, reason=str(trouble))
        return not (isinstance(trouble, Denied) and trouble.status == _FAILED)
    return True


async def _again(shop: Workshop, folder: Folder, ticket: Ticket, denied: Denied) -> None:
    """A refused report is tried once more with a log that the server agrees on."""
    assert ticket.outcome is not None
    # Also tells a stale fence from a report that makes no sense.
    size = await sender(shop, folder, ticket).finish(shop.backoff)
    try:
        await _report(shop, ticket, _addressed(ticket, ticket.outcome, size))
    except Denied:
        if ticket.outcome.status == "errored":
            raise
        errored = wire.Report(status="errored", message=f"the server refused the outcome: {denied}")
        await _report(shop, ticket, _addressed(ticket, errored, size))


async def _report(shop: Workshop, ticket: Ticket, report: wire.Report) -> None:
    call = partial(shop.client.call, protocol.REPORT, report, run_id=ticket.run_id)
    await insist(call, shop.backoff)


def _addressed(ticket: Ticket, report: wire.Report, log_size: int) -> wire.Report:
    return msgspec.structs.replace(
        report,
        phase_id=ticket.phase_id,
        fence=ticket.fence,
        log_size=log_size,
        tool_version=ticket.tool_version,
        state_uploaded=ticket.state_stored or ticket.kind == "plan" or not ticket.started,
    )
