"""Use cases of logs."""

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.runs.logs import internal


async def read(ctx: Context, token: str, offset: int, limit: int) -> bytes:
    """A cut of a log, for whoever has its address."""
    phase = ctx.signed(token, "log-read", otherwise=NotFound)
    return await internal.read(ctx, phase, offset, limit)
