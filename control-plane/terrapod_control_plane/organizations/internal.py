"""The organization, for other slices."""

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.organizations import queries
from terrapod_control_plane.organizations.model import NAME


async def default_pool(ctx: Context) -> str | None:
    """The pool of runs whose workspace names none."""
    return await queries.default_pool()


async def pool_created(ctx: Context, pool: str) -> None:
    """The first pool becomes the default."""
    await queries.set_first_pool(pool)


async def default_pool_now(ctx: Context) -> str | None:
    """The default pool at this moment; it may change at once."""
    found = await queries.get(NAME)
    return found.default_agent_pool_id if found else None


async def pool_left(ctx: Context, old: str, new: str | None) -> None:
    """Another pool takes the place of one that goes, if that was the default."""
    await queries.replace_pool(old, new)
