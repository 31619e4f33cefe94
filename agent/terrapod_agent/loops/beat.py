"""Tells the server that we live and what we hold; brings leases and orders back."""

import platform
import time

import anyio

from terrapod_agent.client import Client
from terrapod_agent.contact import insist
from terrapod_agent.slots import Slots
from terrapod_agent.work.toolchain import platform_name
from terrapod_common import protocol, wire
from terrapod_common.loops import Backoff
from terrapod_common.version import VERSION


async def beat(client: Client, slots: Slots, backoff: Backoff, root: str) -> None:
    """Beat as often as the server wants, and at once when what we hold has changed."""
    while True:
        changed = slots.changed.next()
        answer = await insist(lambda: _once(client, slots, root), backoff)
        with anyio.move_on_after(answer.every_seconds):
            await changed.wait()


async def _once(client: Client, slots: Slots, root: str) -> wire.BeatAnswer:
    sent, kept, dropped = slots.holding(), slots.kept, list(slots.dropped)
    asked_at = time.monotonic()
    question = wire.Beat(
        version=VERSION,
        slots=slots.count,
        draining=slots.draining,
        holding=sent,
        platform=platform_name(platform.system(), platform.machine()),
        dropped=dropped,
        kept=kept,
        trouble=slots.trouble,
        root=root,
    )
    answer = await client.call(protocol.BEAT, question)
    slots.kept = None if slots.kept is kept else slots.kept
    slots.dropped = [holding for holding in slots.dropped if holding not in dropped]
    slots.beaten(sent, answer, asked_at)
    return answer
