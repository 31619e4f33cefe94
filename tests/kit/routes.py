"""The routes of the application: whose matter each one is, and what it answers to whom."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.kit import samples

# What needs no token: the URL or the body is the credential, or there is nothing to protect.
PUBLIC = {
    ("GET", "/.well-known/terraform.json"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/api/v2/ping"),
    ("GET", "/api/v2/binaries/{token}"),
    ("GET", "/api/v2/configuration-downloads/{token}"),
    ("GET", "/api/v2/logs/{token}"),
    ("GET", "/api/v2/state-download/{token}"),
    ("PUT", "/api/v2/configuration-uploads/{token}"),
    ("PUT", "/api/v2/json-state-upload/{token}"),
    ("PUT", "/api/v2/state-upload/{token}"),
    ("PUT", "/api/v2/state-versions/{version_id}/content"),
    ("PUT", "/api/v2/state-versions/{version_id}/json-content"),
    ("POST", "/api/v2/agent-pools/join"),
    ("POST", "/api/v2/agent-pools/{pool_id}/listeners/join"),
    ("POST", "/api/v2/listeners/{listener_id}/nonce"),
    ("POST", "/api/v2/listeners/{listener_id}/renew"),
}
# Those of the public ones that anybody gets a good answer from.
OPEN = {
    "/.well-known/terraform.json",
    "/health",
    "/ready",
    "/api/v2/ping",
    "/api/v2/state-versions/{version_id}/json-content",  # takes anything and keeps nothing
}
# What an agent may call on its own port beside the routes of its own id.
FOR_AGENTS = {"/api/v2/binary-cache/{tool}/{version}/{os}/{arch}"}

# A path with one of these is about something of one workspace; slices name more in `samples`.
OF_WORKSPACE = (
    "{workspace_id}", "{name}", "{run_id}", "{plan_id}", "{apply_id}", "{variable_id}",
    "{configuration_id}", "{version_id}", "{output_id}",
)  # fmt: skip
OF_USER = ("{user_id}", "{token_id}")
# These name their workspace in the body or in the query.
NAMES_WORKSPACE = {"/api/v2/runs", "/api/v2/state-versions"}
NEW_WORKSPACE = "/api/v2/organizations/{organization}/workspaces"
# What a handler can read a body through.
READERS = {"data", "body", "request", "scope"}

# What a change is answered with: unseen is 404, seen but not allowed 403, allowed is not here.
REFUSED = {
    "workspace": {"stranger": 404, "reader": 403, "agent": 404, "foreign agent": 404},
    "user": {"stranger": 404, "reader": 403, "agent": 404, "foreign agent": 404},
    "operators": {"stranger": 403, "reader": 403, "agent": 403, "foreign agent": 403},
    "persons": {"agent": 403, "foreign agent": 403},
    "agents": {"stranger": 403, "reader": 403, "foreign agent": 404},
}
# The same for public routes, by the end of their path: what stands in URL or body does not count.
REFUSED_BY_CREDENTIAL = {
    "/logs/{token}": 404,
    "{token}": 403,
    "/content": 404,
    "/join": 401,
    "/renew": 401,
    "/nonce": 200,  # to be signed by the agent's key, so of no use to others
    "/json-content": 204,  # takes anything and keeps nothing
}
# On its own port an agent is known by its certificate, and the key in the body is not its own.
RENEWED_BY = {"agent": 403, "foreign agent": 404}


class Route(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    agents: bool
    takes_body: bool

    @property
    def public(self) -> bool:
        """Whether it needs no token."""
        return (self.method, self.path) in PUBLIC

    @property
    def of(self) -> str:
        """Whose matter it is."""
        if self.public or self.agents:
            return "public" if self.public else "agents"
        names = (*OF_WORKSPACE, *(f"{{{name}}}" for name in samples.in_workspace()))
        if any(name in self.path for name in names) or self.path in NAMES_WORKSPACE:
            return "workspace"
        if any(name in self.path for name in OF_USER):
            return "user"
        return "persons" if self.path == NEW_WORKSPACE else "operators"

    def filled(self, ids: dict[str, str]) -> str:
        """Its path and query, with ids in their places."""
        # An artifact has a name too.
        ids = ids | {"name": "plan"} if self.agents else ids
        body = samples.bodies().get((self.method, self.path))
        query = body.query if body else "wait=0&seen=0&filter[workspace][name]={name}"
        unknown = set(re.findall(r"{(\w+)}", self.path)) - ids.keys()
        assert not unknown, (
            f"{self.path}: nothing makes {unknown}; in_workspace of {samples.AT} does"
        )
        return re.sub(r"{(\w+)}", lambda found: ids[found[1]], f"{self.path}?{query}")

    def body(self, ids: dict[str, str]) -> bytes:
        """A valid body, or none where it takes none."""
        return samples.bodies()[self.method, self.path].filled(ids) if self.takes_body else b""

    def refusal(self, who: str) -> int | None:
        """What a change by somebody is answered with, unless they may make it."""
        if not self.public:
            return REFUSED[self.of].get(who)
        if self.path.endswith("/renew") and who in RENEWED_BY:
            return RENEWED_BY[who]
        return next(n for end, n in REFUSED_BY_CREDENTIAL.items() if self.path.endswith(end))


def routes(app: Any) -> Iterator[Route]:
    """Everything that an application serves."""
    for route in app.routes:
        for handler in route.route_handlers:
            takes_body = not READERS.isdisjoint(handler.parsed_fn_signature.parameters)
            agents = handler.opt.get("plane") == "agents"
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                yield Route(method, route.path_format, agents, takes_body and method != "GET")


def changes(app: Any) -> Iterator[Route]:
    """Those that do more than read."""
    return (route for route in routes(app) if route.method != "GET")
