"""SQL of cached executables."""

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.repository import Repository
from terrapod_control_plane.toolchains.model import Platform, Tool
from terrapod_control_plane.toolchains.tables import Tools

_KEY = ("tool", "version", "os", "arch")
TOOLS = Repository(Tools, Tool, key=_KEY)

_TAKEN = "returning " + TOOLS.columns
_TAKE = f"delete from tools where tool = $1 and version = $2 and os = $3 and arch = $4 {_TAKEN}"
_TAKE_VERSION = f"delete from tools where tool = $1 and version = $2 {_TAKEN}"


async def get(at: Platform) -> Tool | None:
    """The executable for a platform."""
    return await TOOLS.get(at.tool, at.version, at.os, at.arch)


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
    return await TOOLS.page("true", order=", ".join(_KEY), paging=paging)


async def take(at: Platform) -> Tool | None:
    """Remove the executable for a platform and return it."""
    return await TOOLS.one(_TAKE, at.tool, at.version, at.os, at.arch)


async def insert(new: Tool) -> None:
    """Store an executable."""
    await TOOLS.insert(new)


async def take_version(tool: str, version: str) -> list[Tool]:
    """Remove the executables of a version and return them."""
    return await TOOLS.all(_TAKE_VERSION, tool, version)
