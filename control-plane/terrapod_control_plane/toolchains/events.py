"""What happened to the binary cache."""

from typing import ClassVar

from terrapod_control_plane.kernel.outbox import Event


class _OfTool(Event, frozen=True, kw_only=True):
    tool: str
    version: str

    @property
    def subject(self) -> str:
        """Tool and version."""
        return f"{self.tool}/{self.version}"


class ToolImported(_OfTool, frozen=True, kw_only=True):
    """An executable is in the cache."""

    kind: ClassVar[str] = "tool.imported"
    os: str
    arch: str
    digest: str


class ToolDeleted(_OfTool, frozen=True, kw_only=True):
    """A version is no longer in the cache."""

    kind: ClassVar[str] = "tool.deleted"
