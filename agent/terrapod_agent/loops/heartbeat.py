"""Tells the server that we live and what we hold; brings leases and orders back."""

import platform
import time

import anyio

from terrapod_agent.client import Client
from terrapod_agent.retry import retry
from terrapod_agent.slots import Slots
from terrapod_agent.work.toolchain import platform_name
from terrapod_common import agent_protocol, wire
from terrapod_common.loops import Backoff
from terrapod_common.version import VERSION


async def heartbeat(client: Client, slots: Slots, backoff: Backoff, root: str) -> None:
    """Send one as often as the server wants, and at once when what we hold has changed."""
    while True:
        changed = slots.changed.next_event()
        answer = await retry(lambda: _once(client, slots, root), backoff)
        with anyio.move_on_after(answer.every_seconds):
            await changed.wait()


async def _once(client: Client, slots: Slots, root: str) -> wire.HeartbeatAnswer:
    sent, kept, dropped = slots.held_phases(), slots.started_applies, list(slots.dropped_phases)
    asked_at = time.monotonic()
    question = wire.Heartbeat(
        version=VERSION,
        slots=slots.count,
        draining=slots.draining,
        holding=sent,
        platform=platform_name(platform.system(), platform.machine()),
        dropped=dropped,
        kept=kept,
        trouble=slots.blocked_by,
        root=root,
    )
    answer = await client.call(agent_protocol.HEARTBEAT, question)
    slots.started_applies = None if slots.started_applies is kept else slots.started_applies
    slots.dropped_phases = [holding for holding in slots.dropped_phases if holding not in dropped]
    slots.apply_heartbeat(sent, answer, asked_at)
    return answer
