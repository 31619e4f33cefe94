"""SQL of the organization."""

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.repository import Repository
from terrapod_control_plane.organizations.model import Organization
from terrapod_control_plane.organizations.tables import Organizations

ORGANIZATIONS = Repository(Organizations, Organization)


async def get(name: str) -> Organization | None:
    """The organization by its name."""
    return await ORGANIZATIONS.get(name)


async def default_pool() -> str | None:
    """The pool of runs that name none; it stays that until the end of the transaction."""
    # Else it could be deleted before a run that is made for it is seen.
    found: str | None = await db.value("select default_agent_pool_id from organizations for share")
    return found


async def set_first_pool(pool: str) -> None:
    """Make a pool the default, unless there is one."""
    await db.execute(
        "update organizations set default_agent_pool_id = $1 where default_agent_pool_id is null",
        pool,
    )


async def replace_pool(old: str, new: str | None) -> None:
    """Make another pool the default, if this one is."""
    await db.execute(
        "update organizations set default_agent_pool_id = $2 where default_agent_pool_id = $1",
        old,
        new,
    )
