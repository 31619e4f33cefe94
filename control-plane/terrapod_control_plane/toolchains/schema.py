"""JSON:API shapes of the binary cache."""

from datetime import datetime

from terrapod_control_plane.kernel.jsonapi import Resource


class ToolDoc(Resource, tag="binary-cache-entries", kw_only=True):
    """An executable in the cache."""

    tool: str
    version: str
    os: str
    arch: str
    digest: str
    size: int
    created_at: datetime
