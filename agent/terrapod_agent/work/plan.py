"""The plan phase: plan into a file, and keep all that its apply will need."""

from pathlib import Path

import anyio

from terrapod_agent.executors.base import Exit
from terrapod_agent.trouble import Failed
from terrapod_agent.work import artifacts, snapshots, terraform
from terrapod_agent.work.folder import Folder, Ticket
from terrapod_agent.work.prepare import LOCK_FILE
from terrapod_agent.work.steps import Steps
from terrapod_agent.work.workshop import Workshop
from terrapod_common import files, wire

_OBJECTS = 10_000_000
_JSON_BYTES = 1024 * 1024 * 1024


async def plan(
    shop: Workshop, work: wire.Work, steps: Steps, folder: Folder, ticket: Ticket, binary: Path
) -> wire.Report:
    """Plan and upload; the report says what the plan would do."""
    working = artifacts.Working(folder.place.path.resolve() / folder.tree.name, steps.root)
    before = await anyio.to_thread.run_sync(artifacts.snapshot, working)
    argv = terraform.plan(binary, work.flags, folder.values, folder.plan)
    ended = await steps.checked("main", argv)
    if ended.code not in (terraform.NO_CHANGES, terraform.CHANGES):
        raise Failed(f"{binary.name} plan failed ({ended.told()})", shown=ended.spoke)
    await snapshots.choose(steps, folder, ticket, work.tool, binary)
    shown = await _show(steps, folder, binary)
    if shown.code != 0 and folder.plan_in_file.exists():
        # This terraform does not take it after all.
        folder.plan_in_file.rename(folder.plan)
        shown = await _show(steps, folder, binary)
    if shown.code != 0:
        raise Failed(f"{binary.name} show of the plan failed ({shown.told()})")
    if not await anyio.to_thread.run_sync(files.plain, steps.root, folder.place.path):
        raise Failed("the run has put something else in the place of its own folders")
    counts, plain = await anyio.to_thread.run_sync(_told, folder.plan_json, work.variables)
    limit = work.limits.created_files_bytes
    created = await anyio.to_thread.run_sync(
        artifacts.pack_created, working, before, folder.created, limit
    )
    left = [(wire.PLAN_FILE, folder.plan), (wire.PLAN_JSON, folder.plan_json)]
    left += [(wire.CREATED_FILES, folder.created)] if created else []
    if (lock := steps.root / LOCK_FILE).exists():
        left.append((wire.LOCK_FILE, lock))
    for name, path in left:
        await artifacts.send(shop.client, ticket, name, path, shop.backoff)
    return wire.Report(
        status="planned",
        has_changes=ended.code == terraform.CHANGES,
        additions=counts.additions,
        changes=counts.changes,
        destructions=counts.destructions,
        imports=counts.imports,
        plain_variables=plain,
    )


async def _show(steps: Steps, folder: Folder, binary: Path) -> Exit:
    folder.plan_json.unlink(missing_ok=True)
    return await steps.checked("show", terraform.show(binary, folder.plan), folder.plan_json)


def _told(shown: Path, given: list[wire.Variable]) -> tuple[terraform.Counts, list[str]]:
    document = files.content(shown, _JSON_BYTES)
    if document is None:
        raise Failed(f"the plan as JSON is larger than the {_JSON_BYTES} bytes that are read")
    # Each object takes a hundred bytes where it had two.
    if document.count(b"{") > _OBJECTS:
        raise Failed(f"the plan as JSON has more than the {_OBJECTS} objects that are read")
    plain = terraform.plain_variables(document)
    return terraform.planned_counts(document), sorted(plain & {one.key for one in given})
