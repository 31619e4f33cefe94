"""The composition root: mounts every slice. What they stand on is opened by ``boot``."""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State

from terrapod_control_plane.agents import api as agents_api
from terrapod_control_plane.agents import duty_api, remote_state_api
from terrapod_control_plane.agents import jobs as agent_jobs
from terrapod_control_plane.agents import queries as agent_queries
from terrapod_control_plane.agents import service as agents
from terrapod_control_plane.configurations import api as configurations_api
from terrapod_control_plane.configurations import service as configurations
from terrapod_control_plane.configurations.events import ConfigurationUploaded
from terrapod_control_plane.configurations.schema import ConfigurationDoc
from terrapod_control_plane.health import api as health_api
from terrapod_control_plane.health import jobs as health_jobs
from terrapod_control_plane.identity import api as identity_api
from terrapod_control_plane.identity import queries as identity_queries
from terrapod_control_plane.identity import service as identity
from terrapod_control_plane.identity.schema import UserDoc
from terrapod_control_plane.kernel.access import Resolver
from terrapod_control_plane.kernel.context import AgentDirectory, Handler, Services
from terrapod_control_plane.kernel.events import Event
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.kernel.policy import Actor
from terrapod_control_plane.organizations import api as organizations_api
from terrapod_control_plane.runs import api as runs_api
from terrapod_control_plane.runs import presenting
from terrapod_control_plane.runs import service as runs
from terrapod_control_plane.runs.logs import jobs as log_jobs
from terrapod_control_plane.runs.recovery import api as recovery_api
from terrapod_control_plane.runs.recovery import jobs as recovery_jobs
from terrapod_control_plane.runs.transfers import jobs as transfer_jobs
from terrapod_control_plane.runs.work import jobs as work_jobs
from terrapod_control_plane.settings import Settings
from terrapod_control_plane.states import api as states_api
from terrapod_control_plane.states import jobs as state_jobs
from terrapod_control_plane.states import service as states
from terrapod_control_plane.states.of_runs import jobs as run_state_jobs
from terrapod_control_plane.states.outputs import api as outputs_api
from terrapod_control_plane.states.outputs import service as outputs
from terrapod_control_plane.states.outputs.schema import OutputDoc
from terrapod_control_plane.states.schema import StateVersionDoc
from terrapod_control_plane.states.uploads import api as uploads_api
from terrapod_control_plane.toolchains import api as toolchains_api
from terrapod_control_plane.variables import api as variables_api
from terrapod_control_plane.variables import service as variables
from terrapod_control_plane.web import discovery
from terrapod_control_plane.web.auth import Credentials, authenticate
from terrapod_control_plane.web.errors import HANDLERS
from terrapod_control_plane.web.include import Fetch, presented
from terrapod_control_plane.web.jsonapi import JsonApi
from terrapod_control_plane.web.params import DEPENDENCIES
from terrapod_control_plane.workspaces import api as workspaces_api
from terrapod_control_plane.workspaces import queries as workspace_queries
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.deleted import jobs as deleted_jobs
from terrapod_control_plane.workspaces.deleted import service as deleted
from terrapod_control_plane.workspaces.events import (
    WorkspaceDeleted,
    WorkspaceUnlocked,
    WorkspaceUpdated,
)
from terrapod_control_plane.workspaces.sharing import api as sharing_api

API: list[Any] = [
    *identity_api.ROUTES,
    *organizations_api.ROUTES,
    *workspaces_api.ROUTES,
    *sharing_api.ROUTES,
    *variables_api.ROUTES,
    *configurations_api.ROUTES,
    *states_api.ROUTES,
    *uploads_api.ROUTES,
    *outputs_api.ROUTES,
    *toolchains_api.ROUTES,
    *runs_api.ROUTES,
    *recovery_api.ROUTES,
    *agents_api.ROUTES,
    *duty_api.ROUTES,
    *remote_state_api.ROUTES,
]

# Of a JSON document that holds no state; the routes of larger bodies have limits of their own.
_DOCUMENT_BYTES = 4 * 1024 * 1024

# The prefix of an id -> how its scope is found.
RESOLVERS: Mapping[str, Resolver] = {
    "user": identity_queries.user_scope,
    "at": identity_queries.token_scope,
    "ws": workspace_queries.scope,
    "var": variables.scope,
    "cv": configurations.scope,
    "sv": states.scope,
    "wsout": states.output_scope,
    "run": runs.scope,
    "plan": runs.scope,
    "apply": runs.scope,
    "apool": agent_queries.pool_scope,
    "listener": agent_queries.listener_scope,
}

# What runs inside the transaction of an event.
IN_TRANSACTION: Mapping[type[Event], Sequence[Handler]] = {
    ConfigurationUploaded: [runs.configuration_uploaded],
    WorkspaceDeleted: [deleted.note],
    WorkspaceUnlocked: [runs.workspace_unlocked],
    WorkspaceUpdated: [runs.workspace_updated],
}

# What a waiting run may say of those that it waits for.
AGENT_DIRECTORY = AgentDirectory(pools=agents.pools_seen, names=agents.names)

# JSON:API type -> how `?include=` fetches it.
RELATED: Mapping[str, Fetch] = {
    "users": presented(identity.users, UserDoc),
    "workspaces": workspaces.docs,
    "configuration-versions": presented(configurations.many, ConfigurationDoc),
    "state-versions": presented(states.many, StateVersionDoc),
    "state-version-outputs": presented(outputs.some_outputs, OutputDoc),
    "runs": presenting.related,
    "plans": presenting.related_plans,
    "applies": presenting.related_applies,
}


def jobs(settings: Settings) -> list[Job]:
    """What runs by itself."""
    return [
        *work_jobs.jobs(settings),
        *log_jobs.jobs(settings),
        *recovery_jobs.JOBS,
        *state_jobs.jobs(settings),
        *run_state_jobs.JOBS,
        *agent_jobs.JOBS,
        *transfer_jobs.JOBS,
        *deleted_jobs.JOBS,
        *health_jobs.jobs(settings),
    ]


def build(services: Services) -> Litestar:
    """The ASGI application of both ports."""
    api = Router(
        "/api/v2",
        route_handlers=API,
        dto=JsonApi,
        return_dto=JsonApi,
    )
    return Litestar(
        [api, *discovery.ROUTES, *health_api.ROUTES],
        guards=[authenticate],
        dependencies=DEPENDENCIES,
        exception_handlers=HANDLERS,
        state=State(
            {"services": services, "credentials": _credentials(services), "related": RELATED},
        ),
        request_max_body_size=_DOCUMENT_BYTES,
        logging_config=None,
        openapi_config=None,
    )


def _credentials(services: Services) -> Credentials:
    async def of_token(token: str) -> Actor | None:
        return await identity.actor_of(token, services.clock.now())

    async def of_certificate(certificate: bytes) -> Actor | None:
        return await agents.actor_of(certificate, services.clock.now())

    return Credentials(of_token=of_token, of_certificate=of_certificate)
