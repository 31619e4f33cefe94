"""Waits for orders, so that a cancel does not wait for the next heartbeat."""

import time
from functools import partial

import anyio

from terrapod_agent.background import in_background
from terrapod_agent.client import Client
from terrapod_agent.retry import retry
from terrapod_agent.slots import Slots
from terrapod_common import agent_protocol, wire
from terrapod_common.loops import Backoff


async def follow_orders(client: Client, slots: Slots, backoff: Backoff, wait: float) -> None:
    """Long-poll the orders that stand while the question for work does not bring them."""
    while True:
        changed = slots.changed.next_event()
        if not _needed(slots):
            await changed.wait()
            continue
        with anyio.CancelScope() as scope:
            async with in_background(partial(_cancel_when_not_needed, slots, scope)):
                await _poll(client, slots, backoff, wait)


async def _poll(client: Client, slots: Slots, backoff: Backoff, wait: float) -> None:
    while True:
        asked_at, seen = time.monotonic(), slots.orders_seen
        poll = partial(client.call_optional, agent_protocol.ORDERS, None, wait=wait, seen=seen)
        answer = await retry(poll, backoff)
        if answer is not None:
            slots.apply_orders(answer.orders)
            slots.pause(answer.drain)
        if answer is None or wire.orders_fingerprint(answer.orders) == seen:
            # Nothing is new, so the server should have waited; it may have a reason not to.
            await anyio.sleep(max(0.0, asked_at + backoff.first - time.monotonic()))


def _needed(slots: Slots) -> bool:
    """Whether something runs that may get orders, or nothing is asked for that could bring them."""
    return bool(slots.active_phases) or slots.paused


async def _cancel_when_not_needed(slots: Slots, scope: anyio.CancelScope) -> None:
    while True:
        changed = slots.changed.next_event()
        if not _needed(slots):
            scope.cancel("the question for work brings them")
        await changed.wait()
