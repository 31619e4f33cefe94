"""The composition root: mounts what every slice declares. What slices stand on opens ``boot``."""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide

from terrapod_control_plane.agent_api.slice import SLICE as AGENT_API
from terrapod_control_plane.agents.slice import SLICE as AGENTS
from terrapod_control_plane.configurations.slice import SLICE as CONFIGURATIONS
from terrapod_control_plane.health.slice import SLICE as HEALTH
from terrapod_control_plane.identity.slice import SLICE as IDENTITY
from terrapod_control_plane.kernel import ids
from terrapod_control_plane.kernel.access import Resolver
from terrapod_control_plane.kernel.consumers import Consumer
from terrapod_control_plane.kernel.context import AgentDirectory, Handler, Services
from terrapod_control_plane.kernel.crypto import keys
from terrapod_control_plane.kernel.crypto.authority import fingerprint
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.kernel.outbox import Event
from terrapod_control_plane.kernel.policy import Actor
from terrapod_control_plane.kernel.related import Fetch
from terrapod_control_plane.kernel.slices import Slice
from terrapod_control_plane.organizations.slice import SLICE as ORGANIZATIONS
from terrapod_control_plane.runs.slice import SLICE as RUNS
from terrapod_control_plane.settings import Settings
from terrapod_control_plane.states.slice import SLICE as STATES
from terrapod_control_plane.toolchains.slice import SLICE as TOOLCHAINS
from terrapod_control_plane.variables.slice import SLICE as VARIABLES
from terrapod_control_plane.web import discovery
from terrapod_control_plane.web.agent_json import AgentJson, AgentRequest
from terrapod_control_plane.web.auth import AGENTS as AGENTS_ONLY
from terrapod_control_plane.web.auth import Credentials, authenticate
from terrapod_control_plane.web.errors import HANDLERS
from terrapod_control_plane.web.jsonapi import JsonApi
from terrapod_control_plane.web.params import DEPENDENCIES
from terrapod_control_plane.workspaces.slice import SLICE as WORKSPACES

# From the bottom up: a slice knows only those before it.
SLICES: tuple[Slice, ...] = (
    IDENTITY,
    ORGANIZATIONS,
    WORKSPACES,
    VARIABLES,
    CONFIGURATIONS,
    STATES,
    TOOLCHAINS,
    RUNS,
    AGENTS,
    AGENT_API,
    HEALTH,
)

# Of a JSON document that holds no state; the routes of larger bodies have limits of their own.
_DOCUMENT_BYTES = 4 * 1024 * 1024

for _slice in SLICES:
    ids.declare(_slice.kinds)


def resolvers() -> Mapping[str, Resolver]:
    """The prefix of an id -> how its scope is found."""
    return {prefix: scope for one in SLICES for prefix, scope in one.scopes.items()}


def handlers() -> Mapping[type[Event], Sequence[Handler]]:
    """What runs inside the transaction of an event, in the order of the slices."""
    found: dict[type[Event], list[Handler]] = {}
    for one in SLICES:
        for event, handle in one.handlers.items():
            found.setdefault(event, []).extend(handle)
    return found


def agent_directory() -> AgentDirectory:
    """Where runs ask for those that they wait for."""
    return next(one.agent_directory for one in SLICES if one.agent_directory)


def jobs(settings: Settings) -> list[Job]:
    """What runs by itself."""
    return [job for one in SLICES for declared in one.jobs for job in declared(settings)]


def consumers(settings: Settings) -> list[Consumer]:
    """Who follows what has happened."""
    return [each for one in SLICES for declared in one.consumers for each in declared(settings)]


def related() -> Mapping[str, Fetch]:
    """JSON:API type -> how `?include=` fetches it."""
    return {type_: fetch for one in SLICES for type_, fetch in one.related.items()}


def agent_dependencies() -> Mapping[str, Provide]:
    """What handlers for agents take by name, beside what every handler may take."""
    return {
        name: Provide(provider, sync_to_thread=False)
        for one in SLICES
        for name, provider in one.agent_dependencies.items()
    }


def build(services: Services) -> Litestar:
    """The ASGI application of both ports."""
    api = Router(
        "/api/v2",
        route_handlers=[route for one in SLICES for route in one.routes],
        dto=JsonApi,
        return_dto=JsonApi,
    )
    agents = Router(
        "/api/v2",
        route_handlers=[route for one in SLICES for route in one.agent_routes],
        dependencies=agent_dependencies(),
        dto=AgentJson,
        return_dto=AgentJson,
        request_class=AgentRequest,
        opt=AGENTS_ONLY,
    )
    at_root: list[Any] = [route for one in SLICES for route in one.root_routes]
    return Litestar(
        [api, agents, *discovery.ROUTES, *at_root],
        guards=[authenticate],
        dependencies=DEPENDENCIES,
        exception_handlers=HANDLERS,
        state=State(
            {
                "services": services,
                "credentials": _credentials(services),
                "related": related(),
            },
        ),
        request_max_body_size=_DOCUMENT_BYTES,
        logging_config=None,
        openapi_config=None,
    )


def _credentials(services: Services) -> Credentials:
    by_token = next(one.by_token for one in SLICES if one.by_token)
    by_certificate = next(one.by_certificate for one in SLICES if one.by_certificate)

    async def of_token(token: str) -> Actor | None:
        now, key = services.clock.now(), keys.digest(token)
        return await services.caches.actor(key, now, lambda: by_token(key, now))

    async def of_certificate(certificate: bytes) -> Actor | None:
        now, key = services.clock.now(), fingerprint(certificate)
        return await services.caches.actor(key, now, lambda: by_certificate(key, now))

    return Credentials(of_token=of_token, of_certificate=of_certificate)
