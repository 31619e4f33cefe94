"""Use cases of what plans leave."""

from collections.abc import AsyncIterator

from terrapod_common.wire import PLAN_JSON
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.runs import queries
from terrapod_control_plane.runs.phases.artifacts import internal
from terrapod_control_plane.workspaces.actions import STATE_DOWNLOAD


async def plan_json(ctx: Context, id_: str) -> AsyncIterator[bytes]:
    """A plan as JSON, with every value in clear."""
    await ctx.must(STATE_DOWNLOAD, id_)
    found = await queries.phases([id_])
    if not found:
        raise NotFound(f"There is no {id_}.")
    return internal.read_artifact(ctx, found[0], PLAN_JSON)
