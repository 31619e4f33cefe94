"""Executables in the cache."""

from datetime import datetime

from msgspec import Struct

LATEST = "latest"


class Platform(Struct, frozen=True):
    """What an executable is and where it runs."""

    tool: str
    version: str
    os: str
    arch: str


class Tool(Struct, frozen=True, kw_only=True):
    """An executable for one platform."""

    tool: str
    version: str
    os: str
    arch: str
    digest: str  # sha256 hex of the executable
    size: int
    created_at: datetime

    @property
    def id(self) -> str:
        """What lists call it."""
        return f"{self.tool}-{self.version}-{self.os}-{self.arch}"

    @property
    def key(self) -> str:
        """Where the executable is stored."""
        return f"tools/{self.tool}/{self.version}/{self.os}_{self.arch}/{self.digest}"
