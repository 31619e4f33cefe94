"""Configurations, for other slices and jobs."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from msgspec.structs import replace

from terrapod_control_plane.configurations import queries
from terrapod_control_plane.configurations.events import ConfigurationArchived
from terrapod_control_plane.configurations.model import Aged, Configuration
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.kernel.policy import Scope
from terrapod_control_plane.workspaces import internal as workspaces

UPLOAD = "configuration-upload"


_AT_ONCE = 100


async def scope(id_: str) -> Scope | None:
    """A configuration belongs to its workspace."""
    return await workspaces.scope_of(queries.WORKSPACE_OF, id_)


def timestamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


async def read(ctx: Context, id_: str) -> AsyncIterator[bytes]:
    """The bytes of an uploaded archive."""
    found = await uploaded(ctx, id_)
    return ctx.services.blobs.read(found.key)


async def get(ctx: Context, id_: str) -> Configuration:
    """A configuration by id."""
    found = await queries.get(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


async def many(ctx: Context, wanted: Sequence[str]) -> list[Configuration]:
    """Those of the configurations that the caller may see."""
    return await queries.visible(ctx.actor, wanted)


async def latest_uploaded(ctx: Context, workspace: str) -> Configuration | None:
    """The newest configuration of a workspace that can be applied."""
    return await queries.latest_uploaded(workspace)


async def aged(ctx: Context, before: datetime, after: tuple[datetime, str]) -> list[Aged]:
    """Some of those that were made before then, behind the one that is named."""
    return await queries.aged(before, after, _AT_ONCE)


async def archive(ctx: Context, id_: str) -> bool:
    """Let go of an archive; its workspace is locked. The content is removed after the commit."""
    found = await queries.lock(id_)
    if found is None or found.status != "uploaded":
        return False
    stamps = found.status_timestamps | {"archived-at": timestamp(ctx.now())}
    await queries.save(replace(found, status="archived", status_timestamps=stamps))
    about = {"configuration": found.id, "workspace": found.workspace_id}
    await ctx.emit(ConfigurationArchived(**about))
    return True


async def forget_content(ctx: Context, archived: Configuration) -> None:
    """Remove the content of a configuration that was archived."""
    await ctx.services.blobs.delete(archived.key)


async def uploaded(ctx: Context, id_: str) -> Configuration:
    found = await get(ctx, id_)
    if found.status == "archived":
        raise NotFound(f"The archive of {id_} was removed: it is old, and a newer one is there.")
    if found.status != "uploaded":
        raise NotFound(f"{id_} has no archive: it is {found.status}.")
    return found
