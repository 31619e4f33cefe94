"""JSON:API shapes of state versions and outputs."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from msgspec import Struct, field

from terrapod_control_plane.kernel.jsonapi import Resource
from terrapod_control_plane.kernel.relations import many, one


class ResourceDoc(Struct, kw_only=True):
    """What a state manages under one address."""

    name: str
    type: str
    count: int
    module: str
    provider: str


class StateVersionDoc(Resource, tag="state-versions", kw_only=True):
    """A state version."""

    at: ClassVar[str] = "/api/v2/state-versions/{id}"
    created_at: datetime
    finalized_at: datetime | None
    serial: int
    lineage: str
    md5: str
    size: int
    status: str
    intermediate: bool
    terraform_version: str
    hosted_state_download_url: str | None
    hosted_state_upload_url: str | None
    hosted_json_state_upload_url: str | None
    hosted_json_state_download_url: str | None = None
    resources_processed: bool
    resources: list[ResourceDoc]
    resource_count: int
    output_count: int | None
    modules: dict[str, Any] = field(default_factory=dict)
    providers: dict[str, Any] = field(default_factory=dict)
    run: Annotated[str | None, one("runs")] = None
    created_by: Annotated[str | None, one("users")] = None
    workspace: Annotated[str, one("workspaces")] = ""
    outputs: Annotated[list[str], many("state-version-outputs")]
