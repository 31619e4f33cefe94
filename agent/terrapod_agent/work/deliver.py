"""Hands in the outcome of a phase: first the state, then the log, then the report."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import msgspec
import structlog

from terrapod_agent.error_capture import capture_error
from terrapod_agent.errors import AgentError, FenceLost, RequestDenied, RequestFailed
from terrapod_agent.executors.process import read_exit
from terrapod_agent.retry import retry
from terrapod_agent.work import apply_outcome, state
from terrapod_agent.work.dependencies import PhaseDependencies
from terrapod_agent.work.logs import LogCall, LogSender, MaskedLog
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_common import agent_protocol, wire
from terrapod_common.agent_protocol import Code

log = structlog.get_logger()
_WORDS = 1000  # of a reason that is told to the server


async def deliver(deps: PhaseDependencies, folder: PhaseFolder, ticket: Ticket) -> None:
    """Bring home what the ticket's outcome needs. May be done again after a crash at any point.

    The folder is removed once nothing in it matters any more; a state that the server refuses
    stays, and is offered again later.
    """
    ours = not ticket.refused
    if ticket.kind == "apply" and ticket.started and not ticket.state_stored:
        ticket, ours = await _deliver_state(deps, folder, ticket, ours=ours)
    if not ticket.reported:
        if not await (_deliver_report if ours else _deliver_late_result)(deps, folder, ticket):
            return
        ticket = msgspec.structs.replace(ticket, reported=True)
        folder.try_save_ticket(ticket)
    if ticket.state_stored or ticket.kind == "plan" or not ticket.started:
        await anyio.to_thread.run_sync(folder.remove)


def log_sender(
    deps: PhaseDependencies, folder: PhaseFolder, ticket: Ticket, call: LogCall = agent_protocol.LOG
) -> LogSender:
    """What sends the log of this phase."""
    masked = MaskedLog(folder.log, ticket.secrets, ticket.log_limit, tail=ticket.tail)
    return LogSender(deps.client, masked, ticket.phase_id, ticket.fence, call)


async def _deliver_state(
    deps: PhaseDependencies, folder: PhaseFolder, ticket: Ticket, *, ours: bool
) -> tuple[Ticket, bool]:
    if not ticket.begun:  # nothing was applied, so the state is the one that the server has
        ticket = msgspec.structs.replace(ticket, state_stored=True)
        return ticket, ours
    reached = await anyio.to_thread.run_sync(state.final_state, folder, ticket)
    content = reached.content
    put = partial(deps.client.upload, agent_protocol.STATE_PUT, phase_id=ticket.phase_id)
    trouble = ""
    if content is not None:
        try:
            await retry(partial(put, content, fence=ticket.fence, final="true"), deps.backoff)
        except FenceLost:
            ours, trouble = False, await _deliver_recovered_state(deps, folder, ticket, content)
        except RequestDenied as denied:
            trouble = str(denied)
            log.warning("the state was refused; it is kept", folder=folder.path, reason=trouble)
    sent = content is not None and not trouble
    if not trouble and reached.doubt:
        trouble = reached.doubt  # the server holds the workspace, and the folder stays for a person
        log.error("the state of an apply is not whole", folder=folder.path, reason=trouble)
    ticket = msgspec.structs.replace(
        ticket, state_stored=not trouble, state_trouble=trouble[:_WORDS], state_sent=sent
    )
    folder.try_save_ticket(ticket)
    return ticket, ours


async def _deliver_recovered_state(
    deps: PhaseDependencies, folder: PhaseFolder, ticket: Ticket, content: bytes
) -> str:
    """Hand in the state of an apply that is over for the server; why it was refused, if so."""
    put = partial(deps.client.upload, agent_protocol.RECOVERED_STATE, phase_id=ticket.phase_id)
    try:
        await retry(partial(put, content, fence=ticket.fence), deps.backoff)
    except RequestDenied as denied:
        # Offered again each minute, and told of once.
        tell = log.debug if ticket.state_trouble == str(denied)[:_WORDS] else log.warning
        told = {"run": ticket.run_id, "workspace": ticket.workspace, "reason": str(denied)}
        tell("a recovered state was refused; it is kept", state=str(folder.state(ticket)), **told)
        return str(denied)
    log.warning("the state of a lost apply was handed in", run=ticket.run_id)
    return ""


async def _deliver_late_result(
    deps: PhaseDependencies, folder: PhaseFolder, ticket: Ticket
) -> bool:
    """The rest of the log of a lost apply, and what became of it; for the hold of its workspace.

    False when the server failed at it: then all of it stays and is offered again.
    """
    if ticket.kind == "plan" or not ticket.started:
        return True
    said = wire.LateResult(
        began=ticket.begun,
        ended=apply_outcome.describe_exit(read_exit(folder.exit("main"))) if ticket.begun else "",
        hard=ticket.outcome is not None and ticket.outcome.hard,
        state="kept" if ticket.state_trouble else "handed_in" if ticket.state_sent else "none",
        state_trouble=ticket.state_trouble,
    )
    put = partial(deps.client.call, agent_protocol.LATE_RESULT, said, phase_id=ticket.phase_id)
    runner: dict[str, Callable[[], Awaitable[object]]] = {
        "log": partial(
            log_sender(deps, folder, ticket, agent_protocol.LATE_LOG).finish, deps.backoff
        ),
        "result": partial(retry, partial(put, fence=ticket.fence), deps.backoff),
    }
    for what, step in runner.items():  # a log that is too long must not keep the result
        try:
            await step()
        except AgentError as trouble:
            log.info("not taken late", what=what, phase=ticket.phase_id, reason=str(trouble))
            if isinstance(trouble, RequestFailed):
                return False
    return True


async def _deliver_report(deps: PhaseDependencies, folder: PhaseFolder, ticket: Ticket) -> bool:
    """The rest of the log and the report, as far as the server still takes them.

    False when the server failed at it: then all of it stays and is offered again.
    """
    assert ticket.outcome is not None
    try:
        size = await _deliver_log(deps, folder, ticket)
        report = _addressed(ticket, ticket.outcome, size)
        try:
            await _send_report(deps, ticket, report)
        except (FenceLost, RequestFailed):
            raise
        except RequestDenied as denied:
            await _report_again(deps, folder, ticket, denied, size)
    except FenceLost:
        log.info("the outcome of a phase came too late", phase=ticket.phase_id)
        return await _deliver_late_result(deps, folder, ticket)
    except AgentError as trouble:
        log.warning("an outcome was refused", phase=ticket.phase_id, reason=str(trouble))
        return not isinstance(trouble, RequestFailed)
    return True


async def _deliver_log(deps: PhaseDependencies, folder: PhaseFolder, ticket: Ticket) -> int | None:
    """Bring the rest of the log; its size, or the size that the server has of one it refuses.

    Such a log must not keep the outcome.
    """
    sending = log_sender(deps, folder, ticket)
    with capture_error() as tried:
        return await sending.finish(deps.backoff)
    error = tried.error
    if isinstance(error, FenceLost | RequestFailed):
        raise error
    log.warning("the rest of a log is not taken", phase=ticket.phase_id, reason=str(error))
    return sending.there


async def _report_again(
    deps: PhaseDependencies,
    folder: PhaseFolder,
    ticket: Ticket,
    denied: RequestDenied,
    size: int | None,
) -> None:
    """A report whose log size was refused is tried once more, with a log that the server agrees on.

    What is refused then, or for another reason, ends the phase as an error.
    """
    assert ticket.outcome is not None
    try:
        if denied.code not in (None, Code.LOG_SIZE):
            raise denied
        # Of a server that gives no codes this also tells a stale fence from other refusals.
        size = await _deliver_log(deps, folder, ticket)
        await _send_report(deps, ticket, _addressed(ticket, ticket.outcome, size))
    except FenceLost:
        raise
    except RequestDenied:
        if ticket.outcome.status == "errored":
            raise
        errored = wire.Report(status="errored", message=f"the server refused the outcome: {denied}")
        await _send_report(deps, ticket, _addressed(ticket, errored, size))


async def _send_report(deps: PhaseDependencies, ticket: Ticket, report: wire.Report) -> None:
    call = partial(deps.client.call, agent_protocol.REPORT, report, run_id=ticket.run_id)
    await retry(call, deps.backoff)


def _addressed(ticket: Ticket, report: wire.Report, log_size: int | None) -> wire.Report:
    return msgspec.structs.replace(
        report,
        phase_id=ticket.phase_id,
        fence=ticket.fence,
        log_size=log_size,
        tool_version=ticket.tool_version,
        state_trouble=ticket.state_trouble,
        state_uploaded=ticket.state_stored or ticket.kind == "plan" or not ticket.started,
    )
