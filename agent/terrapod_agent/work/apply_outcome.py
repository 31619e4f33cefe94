"""How an apply ended: by itself, with its state written, or hard, so that a person has to look."""

from functools import partial

import anyio
import msgspec
import structlog

from terrapod_agent.error_capture import capture_error
from terrapod_agent.errors import printable
from terrapod_agent.executors.base import Exit
from terrapod_agent.executors.process import read_exit, wait_for_survivor
from terrapod_agent.work.apply import with_counts
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_common import wire

log = structlog.get_logger()
_STOPPED = "the agent was stopped during the apply; the state that it had reached was kept"
_EARLY = "the agent was stopped before terraform was started; nothing was applied"
# What terraform says with its own exit code; 126 and 127 are those of a program that never ran.
_OWN = frozenset({0, 1, 126, 127})


def ended_hard(ended: Exit | None) -> bool:
    """Whether terraform did not get to write its state itself; a crash counts, of any kind."""
    if ended is None or ended.hard:
        return True
    return ended.code is not None and ended.code not in _OWN


def describe_exit(ended: Exit | None) -> str:
    """The end in words."""
    if ended is None or ended.unrecorded:
        return "nothing tells how terraform ended"
    if ended.signal is not None:
        return f"terraform was {ended.describe()}"
    return f"terraform had ended{':' if ended.error else ' with'} {ended.describe()}"


# Its last words when it was interrupted twice; the exit code is then 1 as well.
_TWICE = b"Two interrupts received"
_TAIL = 1024 * 1024


def hold_reason(folder: PhaseFolder, ended: Exit | None) -> str:
    """Why a person has to look at what an apply has left, or nothing."""
    if ended_hard(ended):
        return describe_exit(ended)
    if not folder.log.exists():  # there was no room for one
        return ""
    with folder.log.open("rb") as file:
        file.seek(max(0, folder.log.stat().st_size - _TAIL))
        twice = _TWICE in file.read()
    return "it was interrupted twice and dropped what it was doing" if twice else ""


async def final_outcome(
    folder: PhaseFolder, ticket: Ticket, outcome: wire.Report, look_every: float
) -> wire.Report:
    """The outcome of an apply that had begun, as the record of terraform's end has it.

    Whatever went wrong around it, terraform may still be at its end: it is waited for. Where that
    can't be told there is an outcome all the same, and a person has to look.
    """
    if ticket.kind != "apply" or not ticket.begun or outcome.status == "applied":
        return outcome
    with capture_error() as tried:
        outcome = await _final_outcome(folder, outcome, look_every)
    if tried.error is not None:
        outcome = _unknown_outcome(ticket, outcome.message, tried.error)
    return await anyio.to_thread.run_sync(partial(with_counts, folder, ticket, outcome))


def _unknown_outcome(ticket: Ticket, message: str, error: Exception | None) -> wire.Report:
    log.error("nobody can tell how an apply ended", phase=ticket.phase_id, exc_info=error)
    message = f"{message}; it can't be told how terraform ended ({type(error).__name__}: {error})"
    return wire.Report(status="errored", message=printable(message), hard=True)


async def _final_outcome(
    folder: PhaseFolder, outcome: wire.Report, look_every: float
) -> wire.Report:
    await wait_for_survivor(folder.lock, folder.exit("main"), look_every)
    ended = read_exit(folder.exit("main"))
    if ended is not None and ended.code == 0:
        return wire.Report(status="applied")  # it counts, whatever was wished meanwhile
    if not (how := hold_reason(folder, ended)):
        return outcome
    folder.log_line(f"\nTerraform did not end by itself: {how}. The workspace is on hold.")
    known = ended is not None and ended.signal is not None and ended.describe() in outcome.message
    message = outcome.message if known else f"{outcome.message}: {how}"
    return msgspec.structs.replace(outcome, hard=True, message=message)


def recovered_outcome(folder: PhaseFolder, ticket: Ticket) -> wire.Report:
    """The outcome of an apply whose agent was stopped, now that nothing of it runs any more."""
    with capture_error() as tried:
        return with_counts(folder, ticket, _recovered_outcome(folder, ticket))
    return _unknown_outcome(ticket, _STOPPED, tried.error)


def _recovered_outcome(folder: PhaseFolder, ticket: Ticket) -> wire.Report:
    ended = read_exit(folder.exit("main"))
    if not ticket.begun or (ended is not None and ended.error and not ended.hard):
        folder.log_line(f"\nError: {_EARLY}.")
        return wire.Report(status="errored", message=_EARLY)
    if ended is not None and ended.code == 0:
        return wire.Report(status="applied")
    how = hold_reason(folder, ended)
    message = f"{_STOPPED}; {how}" if how else _STOPPED
    folder.log_line(f"\nError: {message}.")
    return wire.Report(status="errored", message=message, hard=bool(how))
