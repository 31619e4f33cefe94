"""What becomes of what plans left."""

from datetime import timedelta

from terrapod_common.loops import each
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.runs.model import Phase
from terrapod_control_plane.runs.transfers import queries

_HOUR = 3600.0
_AT_ONCE = 100


async def forget_plans(ctx: Context) -> None:
    """Remove what plans left for applies, some time after their runs have ended."""
    days = ctx.settings.retention.plan_days
    while days > 0 and await _some(ctx, timedelta(days=days)):
        pass


async def _some(ctx: Context, age: timedelta) -> int:
    gone: list[str] = []

    async def forget(plan: Phase) -> None:
        # The blobs first: what fails half-way is found again by the row.
        # All of them: what the agents have left that were lost with this plan has no row.
        async for key in ctx.parts.blobs.below(f"artifact/{plan.workspace_id}/{plan.id}/"):
            await ctx.parts.blobs.delete(key)
        await queries.forget_artifacts(plan.id)
        gone.append(plan.id)

    await each(await queries.left_behind(ctx.now() - age, _AT_ONCE), forget)
    return len(gone)


JOBS = [Job(name="runs.forget-plans", run=forget_plans, every=_HOUR)]
