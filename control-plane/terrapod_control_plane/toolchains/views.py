"""Tools as clients find them."""

from datetime import timedelta

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.toolchains.internal import DOWNLOAD
from terrapod_control_plane.toolchains.model import Tool

_FETCH_FOR = timedelta(minutes=15)


def url(ctx: Context, tool: Tool) -> str:
    """Where an executable can be read for a while; the URL is the credential."""
    return (
        f"{ctx.base_url}/api/v2/binaries/{ctx.services.signer.sign(DOWNLOAD, tool.key, _FETCH_FOR)}"
    )
