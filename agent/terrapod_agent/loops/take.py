"""Takes work: a free slot asks, waits, runs what it gets, and asks again."""

import secrets
import time
from functools import partial

import anyio
import structlog

from terrapod_agent.beside import beside
from terrapod_agent.contact import insist
from terrapod_agent.slots import Hold, Slots
from terrapod_agent.work.phase import Phase
from terrapod_agent.work.workshop import Workshop
from terrapod_common import protocol, wire

log = structlog.get_logger()


async def take(shop: Workshop, slots: Slots, slot: int) -> None:
    """Serve one slot until the agent drains."""
    while not slots.draining:
        changed, asked_at = slots.changed.next(), time.monotonic()
        if slots.paused:
            await changed.wait()
        elif claimed := await _Question(shop, slots, slot).answer():
            await _run(shop, slots, *claimed)
            if shop.settings.once:
                slots.drain()
        else:
            await _breathe(asked_at, shop.settings.waits.retry_first)


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
    hold.workspace = work.workspace
    hold.leased(work.lease_seconds, asked_at)
    log.info("took a phase", phase=work.phase_id, run=work.run_id, workspace=work.workspace)
    slots.add(hold)
    try:
        await Phase(shop, work, hold).run()
    finally:
        slots.remove(hold)


class _Question:
    """One question for work. It keeps its key, so an answer that was lost is given again."""

    def __init__(self, shop: Workshop, slots: Slots, slot: int) -> None:
        self._shop = shop
        self._slots = slots
        self._slot = slot
        self._key = secrets.token_hex(16)
        self._asked_at = 0.0

    async def answer(self) -> tuple[wire.Work, float] | None:
        """Work and when it was asked for, or nothing came, or the agent drains."""
        found = None
        with anyio.CancelScope() as scope:
            async with beside(partial(self._give_up, scope)):
                found = await insist(self._ask, self._shop.backoff)
        return (found, self._asked_at) if found else None

    async def _ask(self) -> wire.Work | None:
        self._asked_at = time.monotonic()
        settings = self._shop.settings
        return await self._shop.client.ask(
            protocol.NEXT,
            None,
            wait=settings.waits.poll,
            slot=self._slot,
            key=self._key,
            accept=",".join(settings.accept),
            root=str(self._shop.runs),
        )

    async def _give_up(self, scope: anyio.CancelScope) -> None:
        while True:
            changed = self._slots.changed.next()
            if self._slots.draining or self._slots.paused:
                scope.cancel("nothing new is taken")
            await changed.wait()
