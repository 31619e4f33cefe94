"""Takes work: a free slot asks, waits, runs what it gets, and asks again."""

import secrets
import time
from functools import partial

import anyio
import structlog

from terrapod_agent.background import in_background
from terrapod_agent.disk_space import check, describe_os_error
from terrapod_agent.retry import retry
from terrapod_agent.slots import ActivePhase, Slots
from terrapod_agent.work.dependencies import PhaseDependencies
from terrapod_agent.work.phase import Phase
from terrapod_common import agent_protocol, wire

log = structlog.get_logger()


async def poll(deps: PhaseDependencies, slots: Slots, slot: int) -> None:
    """Serve one slot until the agent drains."""
    while not slots.draining:
        async with slots.poll_lock:
            claimed = await _claim(deps, slots)
        if claimed:
            await _run(deps, slots, *claimed)
            if deps.settings.once:
                slots.drain()


async def _claim(deps: PhaseDependencies, slots: Slots) -> tuple[wire.Work, float] | None:
    changed, asked_at = slots.changed.next_event(), time.monotonic()
    if slots.accepts_work:
        await check(deps, slots)  # a phase before this one may have filled the disk
    if slots.draining:
        return None
    if not slots.accepts_work:
        await changed.wait()
        return None
    claimed = await _ClaimRequest(deps, slots).send()
    if claimed is None:
        await _pace(asked_at, deps.settings.waits.retry_first)
    return claimed


async def end_when_idle(slots: Slots, seconds: float) -> None:
    """Drain the agent once it has had nothing to do for so long."""
    while not slots.draining:
        left = seconds - (time.monotonic() - slots.idle_since)
        if left <= 0 and not slots.active_phases:
            log.info("nothing to do, ending", idle_seconds=seconds)
            slots.drain()
        changed = slots.changed.next_event()
        with anyio.move_on_after(left if left > 0 else seconds):
            await changed.wait()


async def _pace(asked_at: float, pause: float) -> None:
    # Two agents with one identity end each other's polls at once; that must not be a storm.
    await anyio.sleep(max(0.0, asked_at + pause - time.monotonic()))


async def _run(deps: PhaseDependencies, slots: Slots, work: wire.Work, asked_at: float) -> None:
    active = ActivePhase(work.run_id, work.phase_id, work.fence, work.kind)
    active.workspace, active.claim = work.workspace, work.claim
    active.extend_lease(work.lease_seconds, asked_at)
    log.info("took a phase", phase=work.phase_id, run=work.run_id, workspace=work.workspace)
    try:
        phase = Phase(deps, work, active)
    except OSError as error:  # nothing was begun, so another agent may have it
        log.error("a phase has no room here", phase=work.phase_id, reason=describe_os_error(error))  # noqa: TRY400 - expected
        slots.block(describe_os_error(error))
        slots.drop_phase(wire.HeldPhase(phase_id=work.phase_id, fence=work.fence))
        return
    slots.add(active)
    try:
        await phase.run()
    finally:
        slots.remove(active)


class _ClaimRequest:
    """One question for work. It keeps its key, so an answer that was lost is given again."""

    def __init__(self, deps: PhaseDependencies, slots: Slots) -> None:
        self._deps = deps
        self._slots = slots
        self._key = secrets.token_hex(16)
        self._asked_at = 0.0
        self._open = False  # it was asked, and nobody knows the answer

    async def send(self) -> tuple[wire.Work, float] | None:
        """Work and when it was asked for, or nothing came, or the agent drains."""
        found = None
        with anyio.CancelScope() as scope:
            async with in_background(partial(self._cancel_when_blocked, scope)):
                found = await retry(self._ask, self._deps.backoff)
        if found is None and self._open:
            await self._hand_back()
        return (found, self._asked_at) if found else None

    async def _hand_back(self) -> None:
        """What was handed out while we turned away is ours by our key; say that nobody runs it."""
        with anyio.move_on_after(self._deps.settings.waits.connect):
            found = await retry(partial(self._ask, new=False), self._deps.backoff)
            if found is None:
                return
            log.info("giving back what came too late", phase=found.phase_id, run=found.run_id)
            holding = wire.HeldPhase(phase_id=found.phase_id, fence=found.fence)
            self._slots.drop_phase(holding)
            while holding in self._slots.dropped_phases:
                await self._slots.heartbeat_answered.next_event().wait()

    async def _ask(self, *, new: bool = True) -> wire.Work | None:
        self._asked_at, self._open = time.monotonic(), True
        settings = self._deps.settings
        answer = await self._deps.client.call_optional(
            agent_protocol.NEXT_WORK,
            None,
            wait=settings.waits.poll if new else 0.0,
            slot=0,  # of all our free slots: the poll of a later process ends this one
            key=self._key,
            accept=",".join(settings.accept) if new else "nothing",
            seen=self._slots.orders_seen,
            root=str(self._deps.runs),
        )
        self._open = False
        if answer is None:
            return None
        if answer.work is None:
            self._slots.apply_orders(answer.orders)
            self._slots.pause(answer.drain)
        return answer.work

    async def _cancel_when_blocked(self, scope: anyio.CancelScope) -> None:
        while True:
            changed = self._slots.changed.next_event()
            if not self._slots.accepts_work:
                scope.cancel("nothing new is taken")
            await changed.wait()
