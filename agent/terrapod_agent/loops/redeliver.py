"""Hands in what an earlier agent, or a refusal of the server, left in the spool."""

from functools import partial

import anyio
import structlog

from terrapod_agent.slots import Slots
from terrapod_agent.spool import orphaned_folders, recover, started_applies
from terrapod_agent.work.dependencies import PhaseDependencies
from terrapod_agent.work.phase_folder import PhaseFolder
from terrapod_common.loops import each

log = structlog.get_logger()


async def redeliver(deps: PhaseDependencies, slots: Slots) -> None:
    """Look into the spool at the start and now and then.

    One that takes long, for something of it still runs, does not keep those that come later.
    """
    slots.started_applies = started_applies(deps.phases, slots)
    slots.changed.notify()
    under_way: set[str] = set()
    async with anyio.create_task_group() as tasks:
        while True:
            found = _found(deps, slots)
            there = {str(folder.path) for folder in found}
            slots.damaged = [path for path in slots.damaged if path in there]
            for folder in found:
                if folder.path.name not in under_way:
                    under_way.add(folder.path.name)
                    tasks.start_soon(_one, deps, slots, folder, under_way)
            await anyio.sleep(deps.settings.waits.flush)


def _found(deps: PhaseDependencies, slots: Slots) -> list[PhaseFolder]:
    try:
        return orphaned_folders(deps.phases, slots)
    except OSError as error:  # what is under way goes on
        log.warning("the spool can't be looked at", reason=str(error))
        return []


async def _one(
    deps: PhaseDependencies, slots: Slots, folder: PhaseFolder, under_way: set[str]
) -> None:
    try:
        await each([folder], partial(recover, deps, slots))
    finally:
        under_way.remove(folder.path.name)
