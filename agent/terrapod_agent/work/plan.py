"""The plan phase: plan into a file, and keep all that its apply will need."""

from pathlib import Path

import anyio

from terrapod_agent.errors import OperationFailed
from terrapod_agent.executors.base import Exit
from terrapod_agent.work import artifacts, snapshots, terraform
from terrapod_agent.work.commands import CommandRunner
from terrapod_agent.work.dependencies import PhaseDependencies
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_agent.work.prepare import LOCK_FILE
from terrapod_common import files, wire

_OBJECTS = 10_000_000
_JSON_BYTES = 1024 * 1024 * 1024


async def plan(
    deps: PhaseDependencies,
    work: wire.Work,
    runner: CommandRunner,
    folder: PhaseFolder,
    ticket: Ticket,
    binary: Path,
) -> wire.Report:
    """Plan and upload; the report says what the plan would do."""
    working = artifacts.WorkingTree(
        folder.run_folder.path.resolve() / folder.tree.name, runner.root
    )
    before = await anyio.to_thread.run_sync(artifacts.index_files, working)
    argv = terraform.plan(binary, work.flags, folder.values, folder.plan)
    ended = await runner.run_unless_stopped("main", argv)
    if ended.code not in (terraform.NO_CHANGES, terraform.CHANGES):
        raise OperationFailed(
            f"{binary.name} plan failed ({ended.describe()})", shown=ended.explained
        )
    await snapshots.choose_backend(runner, folder, ticket, work.tool, binary)
    await _show_plan(runner, folder, binary)
    if not await anyio.to_thread.run_sync(files.without_links, runner.root, folder.run_folder.path):
        raise OperationFailed("the run has put something else in the place of its own folders")
    counts, plain = await anyio.to_thread.run_sync(
        _read_plan_json, folder.plan_json, work.variables
    )
    limit = work.limits.created_files_bytes
    created = await anyio.to_thread.run_sync(
        artifacts.pack_created, working, before, folder.created, limit
    )
    await _upload(deps, runner, folder, ticket, created=created)
    return wire.Report(
        status="planned",
        has_changes=ended.code == terraform.CHANGES,
        additions=counts.additions,
        changes=counts.changes,
        destructions=counts.destructions,
        imports=counts.imports,
        plain_variables=plain,
    )


async def _upload(
    deps: PhaseDependencies,
    runner: CommandRunner,
    folder: PhaseFolder,
    ticket: Ticket,
    *,
    created: bool,
) -> None:
    """Send what the apply of this plan will need."""
    left = [(wire.PLAN_FILE, folder.plan), (wire.PLAN_JSON, folder.plan_json)]
    left += [(wire.CREATED_FILES, folder.created)] if created else []
    if (lock := runner.root / LOCK_FILE).exists():
        left.append((wire.LOCK_FILE, lock))
    for name, path in left:
        await artifacts.upload(deps.client, ticket, name, path, deps.backoff)


async def _show_plan(runner: CommandRunner, folder: PhaseFolder, binary: Path) -> None:
    """Write the plan as JSON, or raise :class:`OperationFailed`."""
    shown = await _show(runner, folder, binary)
    if shown.code != 0 and folder.plan_in_file.exists():
        # This terraform does not take it after all.
        folder.plan_in_file.rename(folder.plan)
        shown = await _show(runner, folder, binary)
    if shown.code != 0:
        raise OperationFailed(f"{binary.name} show of the plan failed ({shown.describe()})")


async def _show(runner: CommandRunner, folder: PhaseFolder, binary: Path) -> Exit:
    folder.plan_json.unlink(missing_ok=True)
    return await runner.run_unless_stopped(
        "show", terraform.show(binary, folder.plan), folder.plan_json
    )


def _read_plan_json(
    shown: Path, given: list[wire.RunVariable]
) -> tuple[terraform.Counts, list[str]]:
    document = files.read_regular(shown, _JSON_BYTES)
    if document is None:
        raise OperationFailed(
            f"the plan as JSON is larger than the {_JSON_BYTES} bytes that are read"
        )
    # Each object takes a hundred bytes where it had two.
    if document.count(b"{") > _OBJECTS:
        raise OperationFailed(
            f"the plan as JSON has more than the {_OBJECTS} objects that are read"
        )
    plain = terraform.plain_variables(document)
    return terraform.planned_counts(document), sorted(plain & {one.key for one in given})
