"""Tools, for other slices."""

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Unprocessable
from terrapod_control_plane.toolchains import queries, versions
from terrapod_control_plane.toolchains.model import LATEST, Platform, Tool

DOWNLOAD = "binary"


async def find(ctx: Context, at: Platform) -> Tool | None:
    """The executable for a platform, if the cache holds it."""
    return await queries.get(at)


def is_before(version: str, bound: str) -> bool:
    """Whether a version is known to come before another; a pre-release counts as its release."""
    if not versions.is_exact(version):
        return False
    return versions.parsed(version).numbers < versions.parsed(bound).numbers


async def resolve(ctx: Context, tool: str, version: str) -> str | None:
    """The version that `latest` or a constraint means now; an exact one stays as it is."""
    if versions.is_exact(version):
        return version
    wanted = "" if version in ("", LATEST) else version
    try:
        return versions.newest(await queries.versions(tool), wanted)
    except versions.BadVersion as error:
        raise Unprocessable(str(error)) from error
