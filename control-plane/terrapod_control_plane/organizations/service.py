"""Use cases of the organization."""

from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.kernel.policy import Action
from terrapod_control_plane.organizations import queries
from terrapod_control_plane.organizations.model import NAME, Organization


async def show(ctx: Context, name: str) -> Organization:
    """The organization by its name; only `default` exists."""
    await ctx.must(Action.ORGANIZATION_READ)
    found = await queries.get(name)
    if found is None:
        raise NotFound(f"There is no organization {name}.")
    return found


@internal
def exists(name: str) -> None:
    """Refuse any organization but the one there is."""
    if name != NAME:
        raise NotFound(f"There is no organization {name}.")


@internal
async def default_pool(ctx: Context) -> str | None:
    """The pool of runs whose workspace names none."""
    return await queries.default_pool()


@internal
async def pool_created(ctx: Context, pool: str) -> None:
    """The first pool becomes the default."""
    await queries.set_first_pool(pool)


@internal
async def default_pool_now(ctx: Context) -> str | None:
    """The default pool at this moment; it may change at once."""
    found = await queries.get(NAME)
    return found.default_agent_pool_id if found else None


@internal
async def pool_left(ctx: Context, old: str, new: str | None) -> None:
    """Another pool takes the place of one that goes, if that was the default."""
    await queries.replace_pool(old, new)
