"""A configuration version."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

Status = Literal["pending", "uploaded", "errored", "archived"]


class NewConfiguration(Struct, frozen=True, kw_only=True):
    """What a configuration is to be used for."""

    auto_queue_runs: bool = True
    speculative: bool = False
    provisional: bool = False


class Configuration(Struct, frozen=True, kw_only=True):
    """An archive of a workspace's configuration, or the place where it will be uploaded."""

    id: str
    workspace_id: str
    created_by: str | None
    created_at: datetime
    status: Status = "pending"
    error_message: str = ""
    source: str = "tfe-api"
    speculative: bool = False
    provisional: bool = False
    auto_queue_runs: bool = True
    status_timestamps: dict[str, str] = {}
    size: int = 0
    digest: str = ""  # sha256 hex of the archive

    @property
    def error(self) -> str:
        """A short name of what is wrong, under the name that clients know."""
        return "invalid archive" if self.status == "errored" else ""

    @property
    def workspace(self) -> str:
        """The workspace, under the name that clients know."""
        return self.workspace_id

    @property
    def key(self) -> str:
        """Where the archive is stored."""
        return f"configuration/{self.workspace_id}/{self.id}"


class Aged(Configuration, frozen=True, kw_only=True):
    """One that was uploaded some time ago."""

    superseded: bool  # a newer one of its workspace can be used for all that it could be used for
