"""Waits for orders, so that a cancel does not wait for the next beat."""

import time
from functools import partial

import anyio

from terrapod_agent.client import Client
from terrapod_agent.contact import insist
from terrapod_agent.slots import Slots
from terrapod_common import protocol, wire
from terrapod_common.loops import Backoff


async def orders(client: Client, slots: Slots, backoff: Backoff, wait: float) -> None:
    """Long-poll the orders that stand and pass them on."""
    seen = 0
    while True:
        asked_at = time.monotonic()
        poll = partial(client.ask, protocol.ORDERS, None, wait=wait, seen=seen)
        answer: wire.Orders | None = await insist(poll, backoff)
        if answer is None or len(answer.orders) == seen:
            # Nothing is new, so the server should have waited; it may have a reason not to.
            await anyio.sleep(max(0.0, asked_at + backoff.first - time.monotonic()))
        if answer is not None:
            seen = len(answer.orders)
            slots.ordered(answer.orders)
            slots.pause(answer.drain)
