"""SQL of cached executables."""

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.toolchains.model import Platform, Tool
from terrapod_control_plane.toolchains.tables import Tools

_GET = "select * from tools where tool = $1 and version = $2 and os = $3 and arch = $4"
_TAKE = "delete from tools where tool = $1 and version = $2 and os = $3 and arch = $4 returning *"


async def get(at: Platform) -> Tool | None:
    """The executable for a platform."""
    return await db.one(Tool, _GET, at.tool, at.version, at.os, at.arch)


async def versions(tool: str) -> list[str]:
    """The versions of a tool that are cached for any platform."""
    found = await db.rows("select distinct version from tools where tool = $1", tool)
    return [row["version"] for row in found]


async def versions_for(at: Platform) -> list[str]:
    """The versions of a tool that are cached for a platform."""
    sql = "select version from tools where tool = $1 and os = $2 and arch = $3"
    return [row["version"] for row in await db.rows(sql, at.tool, at.os, at.arch)]


async def page(paging: Paging) -> Page[Tool]:
    """All executables."""
    total = await db.value("select count(*) from tools")
    sql = "select * from tools order by tool, version, os, arch limit $1 offset $2"
    return Page(await db.many(Tool, sql, paging.size, paging.offset), paging, total)


async def take(at: Platform) -> Tool | None:
    """Remove the executable for a platform and return it."""
    return await db.one(Tool, _TAKE, at.tool, at.version, at.os, at.arch)


async def insert(new: Tool) -> None:
    """Store an executable."""
    await db.insert(Tools, new)


async def take_version(tool: str, version: str) -> list[Tool]:
    """Remove the executables of a version and return them."""
    sql = "delete from tools where tool = $1 and version = $2 returning *"
    return await db.many(Tool, sql, tool, version)
