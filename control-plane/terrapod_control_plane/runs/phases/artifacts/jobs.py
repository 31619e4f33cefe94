"""What becomes of what plans left, and of configurations that nobody works with any more."""

from datetime import UTC, datetime, timedelta

from terrapod_common.loops import each
from terrapod_control_plane.configurations import internal as configurations
from terrapod_control_plane.configurations.model import Aged
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.runs.phases.artifacts import queries
from terrapod_control_plane.runs.phases.artifacts.queries import Left
from terrapod_control_plane.settings import Settings
from terrapod_control_plane.workspaces import internal as workspaces

_HOUR = 3600.0
_AT_ONCE = 100
_FIRST = (datetime(1970, 1, 1, tzinfo=UTC), "")


async def forget_plans(ctx: Context) -> None:
    """Remove what plans left for applies, some time after their runs have ended."""
    days = ctx.settings.retention.plan_days
    if days <= 0:
        return

    async def forget(plan: Left) -> None:
        # The blobs first: what fails half-way is found again by the row.
        # All of them: what the agents have left that were lost with this plan has no row.
        async for key in ctx.services.blobs.below(f"artifact/{plan.workspace_id}/{plan.id}/"):
            await ctx.services.blobs.delete(key)
        await queries.forget_artifacts(plan.id)

    before, after = ctx.now() - timedelta(days=days), _FIRST
    while found := await queries.left_behind(before, after, _AT_ONCE):
        await each([plan for plan in found if plan.over], forget)
        after = (found[-1].claimed_at, found[-1].id)


async def forget_configurations(ctx: Context) -> None:
    """Remove old archives that no run needs and that are not the newest of their workspace."""
    days = ctx.settings.retention.configuration_archive_days
    if days <= 0:
        return
    before, after = ctx.now() - timedelta(days=days), _FIRST

    async def forget(old: Aged) -> None:
        async with db.transaction():
            # Under this lock no run is made of it.
            workspace = await workspaces.lock_row(ctx, old.workspace_id)
            if workspace.current_configuration_version_id == old.id:
                return
            if await queries.in_use([old.id], before):
                return
            gone = await configurations.archive(ctx, old.id)
        if gone:
            await configurations.forget_content(ctx, old)

    while found := await configurations.aged(ctx, before, after):
        superseded = [one for one in found if one.superseded]
        needed = await queries.in_use([one.id for one in superseded], before)
        await each([one for one in superseded if one.id not in needed], forget)
        after = (found[-1].created_at, found[-1].id)


def jobs(_: Settings) -> list[Job]:
    """What runs by itself."""
    return [
        Job(name="runs.forget-plans", run=forget_plans, every=_HOUR),
        Job(name="runs.forget-configurations", run=forget_configurations, every=_HOUR),
    ]
