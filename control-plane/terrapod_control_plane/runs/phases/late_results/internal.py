"""What an agent still has to say of an apply that was given up after its start.

It comes under the fence that the phase was lost with, once, and changes nothing but the end of the
log, which is marked, and the words of the hold: never a status, a state, a lease or a queue.
"""

from functools import partial

import structlog

from terrapod_common import wire
from terrapod_common.agent_protocol import Code
from terrapod_control_plane.kernel import db, epochs
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, NotFound
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.holds import internal as holds
from terrapod_control_plane.runs.logs import internal as logs
from terrapod_control_plane.runs.model import Phase
from terrapod_control_plane.runs.phases.late_results import queries
from terrapod_control_plane.runs.phases.leases.model import LeaseRef
from terrapod_control_plane.runs.phases.results import internal as results
from terrapod_control_plane.states.run_uploads import internal as run_states

log = structlog.get_logger()

_MARK = "\r\n--- late, after the run had ended ---\r\n"


def _lost(phase: Phase | None, lease: LeaseRef) -> Phase:
    if phase is None or phase.listener_id != lease.listener or phase.kind != "apply":
        raise NotFound(f"There is no {lease.phase} that you held.", code=Code.NOT_YOURS)
    if phase.lost_fence is None or phase.lost_fence != lease.fence or not phase.ended:
        told = f"{phase.id} was not lost under the fence {lease.fence}."
        raise Conflict(told, code=Code.NOT_LOST)
    return phase


async def append_log(ctx: Context, lease: LeaseRef, offset: int, data: bytes) -> wire.LogAnswer:
    """Append to the late part of a log; the offset is that in the agent's own log."""
    await epochs.must_be_present(lease.fence)
    async with db.transaction():
        phase = _lost(await runs_queries.locked_phase(lease.phase), lease)
        expected = phase.late_from + phase.late_size
        if phase.late_at is not None and data:  # for good: the same offset would ask for it again
            told = f"The agent of {phase.id} has said everything already."
            raise Conflict(told, code=Code.NOTHING_MORE)
        if offset != expected or not data:
            return wire.LogAnswer(offset=expected)
        mark = b"" if phase.late_size else _MARK.encode()
        await logs.append_late(ctx, phase, mark, data)
        await queries.received(phase.id, phase.late_size + len(data))
    return wire.LogAnswer(offset=expected + len(data))


async def result(ctx: Context, lease: LeaseRef, said: wire.LateResult) -> wire.LateResultAnswer:
    """Take what became of a lost apply; said again, it changes nothing."""
    await epochs.must_be_present(lease.fence)
    found = _lost(await runs_queries.phase(lease.phase), lease)
    async with db.transaction():
        run, phase = await results.locked(ctx, found.run_id, found.id)
        if _lost(phase, lease).late_at is not None:
            return wire.LateResultAnswer()
        newest = await run_states.newest_of(ctx, run.id)
        serial = newest.serial if newest and newest.status == "recovered" else None
        known = told(said, serial)
        mark = "" if phase.late_size else _MARK
        await logs.append_note(ctx, phase, f"{mark}\r\n{known[:1].upper()}{known[1:]}.\r\n")
        await queries.finished(phase.id, ctx.now())
        facts = {"phase": phase.id, "run": run.id, "listener": lease.listener, "known": known}
        db.on_commit(partial(log.info, "a late result was taken", **facts))
        return wire.LateResultAnswer(hold=await holds.tell(ctx, run, phase, known))


async def returned(ctx: Context, listener: str, kept: list[wire.HeldPhase]) -> None:
    """An agent was started again: of what it does not name it has nothing, and the holds say so."""
    named = {(holding.phase_id, holding.fence) for holding in kept}
    for found in await queries.unheard(listener):
        if (found.id, found.lost_fence) not in named:
            async with db.transaction():
                run, phase = await results.locked(ctx, found.run_id, found.id)
                if phase.late_at is None and phase.lost_fence == found.lost_fence:
                    await holds.nothing_left(ctx, run, phase)


def told(said: wire.LateResult, serial: int | None) -> str:
    """What is known by now, in words for the hold."""
    if not said.began:
        return "its agent came back: terraform had not begun, nothing was applied; clear the hold"
    return f"its agent came back: {said.ended or 'terraform had ended'}{_state(said, serial)}"


def _state(said: wire.LateResult, serial: int | None) -> str:
    if said.state == "kept":
        why = said.state_trouble or "the server did not take it"
        return f"; its last state is kept on the agent's machine: {why}"
    if said.state == "handed_in" and serial is not None:
        return f" and wrote serial {serial}, which is here: adopt it, or clear the hold"
    if said.state == "handed_in":
        return ", with a state that is here already: look at it, then clear the hold"
    if said.hard:
        return " and had written no state: look at what it may have made, then clear the hold"
    return " and had written nothing: clear the hold"
