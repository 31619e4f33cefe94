"""What ``terraform_remote_state`` and ``tfe_outputs`` ask for, in the form of the TFE API."""

from collections.abc import Mapping
from typing import Any

from terrapod_agent.door.connection import Connection
from terrapod_agent.door.responses import JSON_API, RequestRefused, Response, document
from terrapod_agent.door.routes import PREFIX, Route
from terrapod_agent.door.upstream import Upstream
from terrapod_common import agent_protocol, wire

Named = Mapping[str, str]
_PERMISSIONS = {"can-read-state-versions": True, "can-read-state-outputs": True}


async def ping(upstream: Upstream, connection: Connection, named: Named) -> None:
    """The first call of every client; only the headers count."""
    await connection.send(Response(status=204))


async def entitlements(upstream: Upstream, connection: Connection, named: Named) -> None:
    """What there is to be had: states."""
    organization = _organization(upstream, named)
    attributes = {"state-storage": True, "operations": True}
    shown = {"id": organization, "type": "entitlement-sets", "attributes": attributes}
    await connection.send(document(shown))


async def workspace_by_name(upstream: Upstream, connection: Connection, named: Named) -> None:
    """A workspace that shares its state."""
    _organization(upstream, named)
    found = await upstream.workspace(name=named["name"])
    await connection.send(document(_workspace(upstream, found)))


async def workspace(upstream: Upstream, connection: Connection, named: Named) -> None:
    """The same, by its id."""
    found = await upstream.workspace(id=named["workspace_id"])
    await connection.send(document(_workspace(upstream, found)))


async def current_state(upstream: Upstream, connection: Connection, named: Named) -> None:
    """Its present state, and where to read it."""
    state = (await upstream.workspace(id=named["workspace_id"])).state
    if state is None:
        raise RequestRefused(404, "The workspace has no state.")
    attributes = {
        "serial": state.serial,
        "lineage": state.lineage,
        "terraform-version": state.terraform_version,
        "created-at": state.created_at,
        "status": "finalized",
        "hosted-state-download-url": f"{PREFIX}/{upstream.downloads}/states/{state.id}",
    }
    known = {name: value for name, value in attributes.items() if value != ""}  # no empty times
    await connection.send(document({"id": state.id, "type": "state-versions", "attributes": known}))


async def download(upstream: Upstream, connection: Connection, named: Named) -> None:
    """The state with its outputs; its resources stay where they are."""
    kind = Response(content_type="application/json")
    id_ = named["version_id"]
    await upstream.forward(agent_protocol.SHARED_STATE, connection, kind, version_id=id_)


async def current_outputs(upstream: Upstream, connection: Connection, named: Named) -> None:
    """The outputs of the present state; none when there is no state."""
    state = (await upstream.workspace(id=named["workspace_id"])).state
    if state is None:
        await connection.send(document([]))
    else:
        await outputs(upstream, connection, {"version_id": state.id})


async def outputs(upstream: Upstream, connection: Connection, named: Named) -> None:
    """The outputs of a state."""
    kind, id_ = Response(content_type=JSON_API), named["version_id"]
    await upstream.forward(agent_protocol.SHARED_OUTPUTS, connection, kind, version_id=id_)


async def output(upstream: Upstream, connection: Connection, named: Named) -> None:
    """An output with its value."""
    kind, id_ = Response(content_type=JSON_API), named["output_id"]
    await upstream.forward(agent_protocol.SHARED_OUTPUT, connection, kind, output_id=id_)


def _organization(upstream: Upstream, named: Named) -> str:
    if named["organization"] != upstream.organization:
        raise RequestRefused(404, f"There is no organization {named['organization']}.")
    return upstream.organization


def _workspace(upstream: Upstream, found: wire.SharedWorkspace) -> Any:
    organization = {"data": {"id": upstream.organization, "type": "organizations"}}
    return {
        "id": found.id,
        "type": "workspaces",
        "attributes": {
            "name": found.name,
            "terraform-version": found.terraform_version,
            "execution-mode": "remote",
            "operations": True,
            "locked": False,
            "permissions": _PERMISSIONS,
        },
        "relationships": {"organization": organization},
    }


ROUTES = (
    Route("/ping", ping),
    Route("/organizations/{organization}/entitlement-set", entitlements),
    Route("/organizations/{organization}/workspaces/{name}", workspace_by_name),
    Route("/workspaces/{workspace_id}", workspace),
    Route("/workspaces/{workspace_id}/current-state-version", current_state),
    Route("/workspaces/{workspace_id}/current-state-version-outputs", current_outputs),
    Route("/state-versions/{version_id}/outputs", outputs),
    Route("/state-version-outputs/{output_id}", output),
)
# Below a path that holds a token of its own: clients fetch it without any other.
DOWNLOADS = (Route("/states/{version_id}", download),)
