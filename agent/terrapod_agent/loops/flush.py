"""Hands in what an earlier agent, or a refusal of the server, left in the spool."""

from functools import partial

import anyio

from terrapod_agent.slots import Slots
from terrapod_agent.spool import kept, orphans, pick_up
from terrapod_agent.work.workshop import Workshop
from terrapod_common.loops import each


async def flush(shop: Workshop, slots: Slots) -> None:
    """Look into the spool at the start and now and then."""
    slots.kept = kept(shop.phases, slots)
    slots.changed.give()
    while True:
        async with anyio.create_task_group() as tasks:
            for folder in orphans(shop.phases, slots):
                # One that cannot be handed in does not keep the others.
                tasks.start_soon(each, [folder], partial(pick_up, shop, slots))
        await anyio.sleep(shop.settings.waits.flush)
