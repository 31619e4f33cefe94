"""JSON:API shapes of configuration versions."""

from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import UNSET, UnsetType

from terrapod_control_plane.kernel.jsonapi import Payload, Resource
from terrapod_control_plane.kernel.relations import one


class ConfigurationDoc(Resource, tag="configuration-versions", kw_only=True):
    """A configuration version; its upload URL only in the answer that made it."""

    at: ClassVar[str] = "/api/v2/configuration-versions/{id}"
    status: str
    error: str
    error_message: str
    source: str
    speculative: bool
    provisional: bool
    auto_queue_runs: bool
    created_at: datetime
    status_timestamps: dict[str, str]
    changed_files: list[str] = []
    upload_url: str | UnsetType = UNSET
    workspace: Annotated[str, one("workspaces")]

    def links(self) -> dict[str, str | None]:
        """Itself and its archive."""
        own = self.at.format(id=self.id)
        return {"self": own, "download": f"{own}/download" if self.status == "uploaded" else None}


class ConfigurationCreate(Payload, tag="configuration-versions", kw_only=True):
    """A configuration to be uploaded."""

    auto_queue_runs: bool = True
    speculative: bool = False
    provisional: bool = False
