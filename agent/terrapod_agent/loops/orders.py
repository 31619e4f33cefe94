"""Waits for orders, so that a cancel does not wait for the next beat."""

import time
from functools import partial

import anyio

from terrapod_agent.beside import beside
from terrapod_agent.client import Client
from terrapod_agent.contact import insist
from terrapod_agent.slots import Slots
from terrapod_common import protocol, wire
from terrapod_common.loops import Backoff


async def orders(client: Client, slots: Slots, backoff: Backoff, wait: float) -> None:
    """Long-poll the orders that stand while the question for work does not bring them."""
    while True:
        changed = slots.changed.next()
        if not _wanted(slots):
            await changed.wait()
            continue
        with anyio.CancelScope() as scope:
            async with beside(partial(_give_up, slots, scope)):
                await _poll(client, slots, backoff, wait)


async def _poll(client: Client, slots: Slots, backoff: Backoff, wait: float) -> None:
    while True:
        asked_at, seen = time.monotonic(), slots.seen
        poll = partial(client.ask, protocol.ORDERS, None, wait=wait, seen=seen)
        answer = await insist(poll, backoff)
        if answer is not None:
            slots.ordered(answer.orders)
            slots.pause(answer.drain)
        if answer is None or wire.seen(answer.orders) == seen:
            # Nothing is new, so the server should have waited; it may have a reason not to.
            await anyio.sleep(max(0.0, asked_at + backoff.first - time.monotonic()))


def _wanted(slots: Slots) -> bool:
    """Whether something runs that may get orders, or nothing is asked for that could bring them."""
    return bool(slots.holds) or slots.paused


async def _give_up(slots: Slots, scope: anyio.CancelScope) -> None:
    while True:
        changed = slots.changed.next()
        if not _wanted(slots):
            scope.cancel("the question for work brings them")
        await changed.wait()
