"""Takes work: a free slot asks, waits, runs what it gets, and asks again."""

import secrets
import time
from functools import partial

import anyio
import structlog

from terrapod_agent.beside import beside
from terrapod_agent.contact import insist
from terrapod_agent.slots import Hold, Slots
from terrapod_agent.space import failure, look
from terrapod_agent.work.phase import Phase
from terrapod_agent.work.workshop import Workshop
from terrapod_common import protocol, wire

log = structlog.get_logger()


async def take(shop: Workshop, slots: Slots, slot: int) -> None:
    """Serve one slot until the agent drains."""
    while not slots.draining:
        async with slots.turn:
            claimed = await _claimed(shop, slots)
        if claimed:
            await _run(shop, slots, *claimed)
            if shop.settings.once:
                slots.drain()


async def _claimed(shop: Workshop, slots: Slots) -> tuple[wire.Work, float] | None:
    changed, asked_at = slots.changed.next(), time.monotonic()
    if slots.takes:
        await look(shop, slots)  # a phase before this one may have filled the disk
    if slots.draining:
        return None
    if not slots.takes:
        await changed.wait()
        return None
    claimed = await _Question(shop, slots).answer()
    if claimed is None:
        await _breathe(asked_at, shop.settings.waits.retry_first)
    return claimed


async def idle(slots: Slots, seconds: float) -> None:
    """Drain the agent once it has had nothing to do for so long."""
    while not slots.draining:
        left = seconds - (time.monotonic() - slots.idle_since)
        if left <= 0 and not slots.holds:
            log.info("nothing to do, ending", idle_seconds=seconds)
            slots.drain()
        changed = slots.changed.next()
        with anyio.move_on_after(left if left > 0 else seconds):
            await changed.wait()


async def _breathe(asked_at: float, pause: float) -> None:
    # Two agents with one identity end each other's polls at once; that must not be a storm.
    await anyio.sleep(max(0.0, asked_at + pause - time.monotonic()))


async def _run(shop: Workshop, slots: Slots, work: wire.Work, asked_at: float) -> None:
    hold = Hold(work.run_id, work.phase_id, work.fence, work.kind)
    hold.workspace, hold.claim = work.workspace, work.claim
    hold.leased(work.lease_seconds, asked_at)
    log.info("took a phase", phase=work.phase_id, run=work.run_id, workspace=work.workspace)
    try:
        phase = Phase(shop, work, hold)
    except OSError as error:  # nothing was begun, so another agent may have it
        log.error("a phase has no room here", phase=work.phase_id, reason=failure(error))  # noqa: TRY400 - expected
        slots.hindered(failure(error))
        slots.drop(wire.Holding(phase_id=work.phase_id, fence=work.fence))
        return
    slots.add(hold)
    try:
        await phase.run()
    finally:
        slots.remove(hold)


class _Question:
    """One question for work. It keeps its key, so an answer that was lost is given again."""

    def __init__(self, shop: Workshop, slots: Slots) -> None:
        self._shop = shop
        self._slots = slots
        self._key = secrets.token_hex(16)
        self._asked_at = 0.0
        self._open = False  # it was asked, and nobody knows the answer

    async def answer(self) -> tuple[wire.Work, float] | None:
        """Work and when it was asked for, or nothing came, or the agent drains."""
        found = None
        with anyio.CancelScope() as scope:
            async with beside(partial(self._give_up, scope)):
                found = await insist(self._ask, self._shop.backoff)
        if found is None and self._open:
            await self._hand_back()
        return (found, self._asked_at) if found else None

    async def _hand_back(self) -> None:
        """What was handed out while we turned away is ours by our key; say that nobody runs it."""
        with anyio.move_on_after(self._shop.settings.waits.connect):
            found = await insist(partial(self._ask, new=False), self._shop.backoff)
            if found is None:
                return
            log.info("giving back what came too late", phase=found.phase_id, run=found.run_id)
            holding = wire.Holding(phase_id=found.phase_id, fence=found.fence)
            self._slots.drop(holding)
            while holding in self._slots.dropped:
                await self._slots.told.next().wait()

    async def _ask(self, *, new: bool = True) -> wire.Work | None:
        self._asked_at, self._open = time.monotonic(), True
        settings = self._shop.settings
        answer = await self._shop.client.ask(
            protocol.NEXT,
            None,
            wait=settings.waits.poll if new else 0.0,
            slot=0,  # of all our free slots: the poll of a later process ends this one
            key=self._key,
            accept=",".join(settings.accept) if new else "nothing",
            seen=self._slots.seen,
            root=str(self._shop.runs),
        )
        self._open = False
        if answer is None:
            return None
        if answer.work is None:
            self._slots.ordered(answer.orders)
            self._slots.pause(answer.drain)
        return answer.work

    async def _give_up(self, scope: anyio.CancelScope) -> None:
        while True:
            changed = self._slots.changed.next()
            if not self._slots.takes:
                scope.cancel("nothing new is taken")
            await changed.wait()
