"""What a slice declares of itself; ``app`` mounts it and nothing else has to know of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from terrapod_control_plane.kernel.access import Resolver
from terrapod_control_plane.kernel.caches import Credential
from terrapod_control_plane.kernel.consumers import Consumer
from terrapod_control_plane.kernel.context import AgentDirectory, Handler
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.kernel.outbox import Event
from terrapod_control_plane.kernel.related import Fetch
from terrapod_control_plane.settings import Settings

# Whom a credential belongs to, at this moment: the digest of a token, or of a certificate.
ByToken = Callable[[bytes, datetime], Awaitable[Credential | None]]
ByCertificate = Callable[[str, datetime], Awaitable[Credential | None]]


class Slice(Struct, frozen=True, kw_only=True):
    """One subject of the server."""

    name: str
    routes: Sequence[Any] = ()  # below /api/v2, in JSON:API
    agent_routes: Sequence[Any] = ()  # below /api/v2, for agents alone, in JSON of the protocol
    agent_dependencies: Mapping[str, Any] = {}  # the name of a parameter of those -> its provider
    root_routes: Sequence[Any] = ()  # at the root of the server, as plain JSON
    kinds: Mapping[str, str] = {}  # the prefix of an id -> its JSON:API type
    scopes: Mapping[str, Resolver] = {}  # the prefix of an id -> how its scope is found
    related: Mapping[str, Fetch] = {}  # JSON:API type -> how `?include=` fetches it
    handlers: Mapping[type[Event], Sequence[Handler]] = {}  # inside the event's transaction
    jobs: Sequence[Callable[[Settings], Sequence[Job]]] = ()  # what runs by itself
    consumers: Sequence[Callable[[Settings], Sequence[Consumer]]] = ()  # what follows from events
    by_token: ByToken | None = None
    by_certificate: ByCertificate | None = None
    agent_directory: AgentDirectory | None = None
