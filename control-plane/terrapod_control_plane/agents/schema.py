"""JSON:API shapes of pools and listeners."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

from terrapod_control_plane.kernel.jsonapi import Payload, Resource
from terrapod_control_plane.kernel.relations import many, one


class PoolDoc(Resource, tag="agent-pools", kw_only=True):
    """A pool."""

    at: ClassVar[str] = "/api/v2/agent-pools/{id}"
    name: str
    service_account_name: str
    agent_count: int
    created_at: datetime
    organization_scoped: bool = True
    organization: Annotated[str, one("organizations")]
    workspaces: Annotated[list[str], many("workspaces")] = []
    allowed_workspaces: Annotated[list[str], many("workspaces")] = []


class PoolCreate(Payload, tag="agent-pools", kw_only=True):
    """A pool to be made."""

    idle: ClassVar[Mapping[str, Collection[Any]]] = {"organization-scoped": (True,)}
    name: str
    service_account_name: str | None = None


class ListenerDoc(Resource, tag="listeners", kw_only=True):
    """An agent's identity."""

    name: str
    version: str
    platform: str
    slots: int
    draining: bool
    created_at: datetime
    last_seen_at: datetime | None
    revoked_at: datetime | None
    pool: Annotated[str, one("agent-pools")]
