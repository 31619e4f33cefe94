"""Hands in what an earlier agent, or a refusal of the server, left in the spool."""

from functools import partial

import anyio
import structlog

from terrapod_agent.slots import Slots
from terrapod_agent.spool import kept, orphans, pick_up
from terrapod_agent.work.folder import Folder
from terrapod_agent.work.workshop import Workshop
from terrapod_common.loops import each

log = structlog.get_logger()


async def flush(shop: Workshop, slots: Slots) -> None:
    """Look into the spool at the start and now and then.

    One that takes long, for something of it still runs, does not keep those that come later.
    """
    slots.kept = kept(shop.phases, slots)
    slots.changed.give()
    under_way: set[str] = set()
    async with anyio.create_task_group() as tasks:
        while True:
            found = _found(shop, slots)
            there = {str(folder.path) for folder in found}
            slots.damaged = [path for path in slots.damaged if path in there]
            for folder in found:
                if folder.path.name not in under_way:
                    under_way.add(folder.path.name)
                    tasks.start_soon(_one, shop, slots, folder, under_way)
            await anyio.sleep(shop.settings.waits.flush)


def _found(shop: Workshop, slots: Slots) -> list[Folder]:
    try:
        return orphans(shop.phases, slots)
    except OSError as error:  # what is under way goes on
        log.warning("the spool can't be looked at", reason=str(error))
        return []


async def _one(shop: Workshop, slots: Slots, folder: Folder, under_way: set[str]) -> None:
    try:
        await each([folder], partial(pick_up, shop, slots))
    finally:
        under_way.remove(folder.path.name)
