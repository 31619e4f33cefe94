"""JSON:API shapes of the organization."""

from datetime import datetime
from typing import Annotated

from msgspec import field

from terrapod_control_plane.kernel.jsonapi import Resource
from terrapod_control_plane.kernel.relations import one


class OrganizationDoc(Resource, tag="organizations", kw_only=True):
    """The organization."""

    created_at: datetime
    name: str = "default"
    email: str = ""
    external_id: str = "org-default"
    default_execution_mode: str = "remote"
    collaborator_auth_policy: str = "password"
    default_agent_pool: Annotated[str | None, one("agent-pools")]
    permissions: dict[str, bool] = field(
        default_factory=lambda: {
            "can-create-workspace": True,
            "can-update": False,
            "can-destroy": False,
            "can-traverse": True,
        }
    )


class EntitlementsDoc(Resource, tag="entitlement-sets", kw_only=True):
    """What the organization may use: everything that is there."""

    agents: bool = True
    audit_logging: bool = True
    cost_estimation: bool = False
    global_run_tasks: bool = False
    operations: bool = True
    private_module_registry: bool = True
    private_run_tasks: bool = False
    run_tasks: bool = False
    self_serve_billing: bool = False
    sentinel: bool = False
    sso: bool = False
    state_storage: bool = True
    teams: bool = False
    vcs_integrations: bool = True
