"""States that other workspaces may read."""

import anyio

from terrapod_control_plane.kernel.blobs.base import whole
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound, Unprocessable
from terrapod_control_plane.kernel.readers import Unreadable
from terrapod_control_plane.states import content
from terrapod_control_plane.states import internal as states
from terrapod_control_plane.states.model import StateVersion
from terrapod_control_plane.states.outputs import internal as outputs
from terrapod_control_plane.states.shared.content import Encrypted, outputs_only

_HERE_AT_MOST = 1024 * 1024


# One holds a whole state, and a process that states which are written need too.
_at_once = anyio.CapacityLimiter(1)


async def current(ctx: Context, workspace: str) -> StateVersion | None:
    """The present state of a workspace."""
    return await states.current_of(ctx, workspace)


async def of_version(ctx: Context, id_: str) -> StateVersion:
    """A version that has a content."""
    found = await states.find(ctx, id_)
    if found is None or found.status != "finalized":
        raise NotFound(f"There is no {id_}.")
    return found


async def of_output(ctx: Context, id_: str) -> StateVersion:
    """The version that has an output."""
    return await of_version(ctx, await outputs.version_of(ctx, id_))


async def read(ctx: Context, version: StateVersion) -> bytes:
    """The state with its outputs, sensitive ones too, and without its resources."""
    blobs, seconds = ctx.services.blobs, ctx.settings.states.read_seconds
    try:
        if version.size <= _HERE_AT_MOST:
            return outputs_only(await whole(blobs, version.blob))
        # One is in memory at a time, however many are asked for; read in another process.
        async with _at_once:
            return await content.read_by(outputs_only, blobs, version.blob, seconds=seconds)
    except (Encrypted, Unreadable):
        raise Unprocessable(
            f"The state {version.id} is encrypted, so that its outputs can't be shared."
        ) from None
