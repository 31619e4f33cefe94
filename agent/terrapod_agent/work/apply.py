"""The apply phase: run exactly the plan that was approved, and bring its state home."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio
import msgspec
import structlog

from terrapod_agent.background import in_background
from terrapod_agent.error_capture import capture_error
from terrapod_agent.errors import OperationFailed, PhaseStopped
from terrapod_agent.slots import ActivePhase
from terrapod_agent.work import artifacts, state, state_diff, terraform
from terrapod_agent.work.archive import unpack
from terrapod_agent.work.commands import CommandRunner
from terrapod_agent.work.dependencies import PhaseDependencies
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_agent.work.prepare import LOCK_FILE
from terrapod_agent.work.snapshots import run_state_server
from terrapod_common import files, wire

log = structlog.get_logger()


async def fetch_plan(
    deps: PhaseDependencies, work: wire.Work, folder: PhaseFolder, ticket: Ticket, root: Path
) -> None:
    """Fetch what the approved plan left, each checked by its digest."""
    if wire.PLAN_FILE not in work.artifacts:
        raise OperationFailed("the approved plan is not there any more; nothing is applied")
    places = {
        wire.PLAN_FILE: folder.plan,
        wire.LOCK_FILE: root / LOCK_FILE,
        wire.CREATED_FILES: folder.created,
    }
    for name, into in places.items():
        if expected := work.artifacts.get(name):
            await artifacts.download(deps.client, ticket, name, expected, into, deps.backoff)
    if wire.CREATED_FILES in work.artifacts:
        limit = work.limits.configuration_bytes
        await anyio.to_thread.run_sync(unpack, folder.created, folder.tree, limit)


async def apply(
    deps: PhaseDependencies,
    work: wire.Work,
    runner: CommandRunner,
    folder: PhaseFolder,
    ticket: Ticket,
    active: ActivePhase,
) -> wire.Report:
    """Apply the plan file; an apply that ends well counts, whatever was wished meanwhile."""
    binary = await deps.toolchain.get(work.tool)
    watcher = state.StateWatcher(deps.client, folder, ticket, deps.backoff)
    every = work.limits.state_every_seconds
    values = folder.values if ticket.asks else None
    async with AsyncExitStack() as stack:
        if ticket.snapshots:
            kept = run_state_server(folder, ticket, work.tool, runner.account)
            found = await stack.enter_async_context(kept)
            runner = runner.in_folder(runner.root, found)
        look_every = deps.settings.waits.state
        await stack.enter_async_context(in_background(partial(watcher.watch, look_every, every)))
        ended = await runner.run("main", terraform.apply(binary, folder.plan, values))
    if ended.code == 0:
        return wire.Report(status="applied")  # the server knows the counts of its plan
    if active.stop_reason():
        raise PhaseStopped
    raise OperationFailed(f"{binary.name} apply failed ({ended.describe()})", shown=ended.explained)


def with_counts(folder: PhaseFolder, ticket: Ticket, report: wire.Report) -> wire.Report:
    """The report of an apply that did not end well, with what it has done all the same."""
    if report.status == "applied":
        return report
    with capture_error() as tried:
        before, after = (
            files.read_regular(folder.state_before),
            state.final_state(folder, ticket).content,
        )
        if after is None:
            return report
        counts = state_diff.count_changes(before, after)
        return msgspec.structs.replace(
            report,
            additions=counts.additions,
            changes=counts.changes,
            destructions=counts.destructions,
        )
    said = "what an apply has done can't be counted"
    log.error(said, phase=ticket.phase_id, exc_info=tried.error)
    return report
