"""The apply phase: run exactly the plan that was approved, and bring its state home."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio
import msgspec
import structlog

from terrapod_agent.attempt import attempt
from terrapod_agent.beside import beside
from terrapod_agent.slots import Hold
from terrapod_agent.trouble import Failed, Stopped
from terrapod_agent.work import artifacts, counting, state, terraform
from terrapod_agent.work.archive import unpack
from terrapod_agent.work.folder import Folder, Ticket
from terrapod_agent.work.prepare import LOCK_FILE
from terrapod_agent.work.snapshots import served
from terrapod_agent.work.steps import Steps
from terrapod_agent.work.workshop import Workshop
from terrapod_common import files, wire

log = structlog.get_logger()


async def fetch_plan(
    shop: Workshop, work: wire.Work, folder: Folder, ticket: Ticket, root: Path
) -> None:
    """Fetch what the approved plan left, each checked by its digest."""
    if wire.PLAN_FILE not in work.artifacts:
        raise Failed("the approved plan is not there any more; nothing is applied")
    places = {
        wire.PLAN_FILE: folder.plan,
        wire.LOCK_FILE: root / LOCK_FILE,
        wire.CREATED_FILES: folder.created,
    }
    for name, into in places.items():
        if expected := work.artifacts.get(name):
            await artifacts.fetch(shop.client, ticket, name, expected, into, shop.backoff)
    if wire.CREATED_FILES in work.artifacts:
        limit = work.limits.configuration_bytes
        await anyio.to_thread.run_sync(unpack, folder.created, folder.tree, limit)


async def apply(
    shop: Workshop, work: wire.Work, steps: Steps, folder: Folder, ticket: Ticket, hold: Hold
) -> wire.Report:
    """Apply the plan file; an apply that ends well counts, whatever was wished meanwhile."""
    binary = await shop.toolchain.get(work.tool)
    watcher = state.Watcher(shop.client, folder, ticket, shop.backoff)
    every = work.limits.state_every_seconds
    values = folder.values if ticket.asks else None
    async with AsyncExitStack() as stack:
        if ticket.snapshots:
            kept = served(folder, ticket, work.tool, steps.account)
            found = await stack.enter_async_context(kept)
            steps = steps.elsewhere(steps.root, found)
        look_every = shop.settings.waits.state
        await stack.enter_async_context(beside(partial(watcher.watch, look_every, every)))
        ended = await steps.run("main", terraform.apply(binary, folder.plan, values))
    if ended.code == 0:
        return wire.Report(status="applied")  # the server knows the counts of its plan
    if hold.stopping():
        raise Stopped
    raise Failed(f"{binary.name} apply failed ({ended.told()})", shown=ended.spoke)


def counted(folder: Folder, ticket: Ticket, report: wire.Report) -> wire.Report:
    """The report of an apply that did not end well, with what it has done all the same."""
    if report.status == "applied":
        return report
    with attempt() as tried:
        before, after = files.content(folder.state_before), state.reached(folder, ticket).content
        if after is None:
            return report
        counts = counting.done(before, after)
        return msgspec.structs.replace(
            report,
            additions=counts.additions,
            changes=counts.changes,
            destructions=counts.destructions,
        )
    said = "what an apply has done can't be counted"
    log.error(said, phase=ticket.phase_id, exc_info=tried.error)
    return report
