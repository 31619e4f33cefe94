"""Use cases of the organization."""

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.organizations import queries
from terrapod_control_plane.organizations.actions import ORGANIZATION_READ
from terrapod_control_plane.organizations.model import Organization


async def show(ctx: Context, name: str) -> Organization:
    """The organization by its name; only `default` exists."""
    await ctx.must(ORGANIZATION_READ)
    found = await queries.get(name)
    if found is None:
        raise NotFound(f"There is no organization {name}.")
    return found
