"""The routes of a door: a table, which whoever serves something to runs makes longer."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping

from msgspec import Struct

from terrapod_agent.door.connection import Connection
from terrapod_agent.door.responses import RequestRefused
from terrapod_agent.door.upstream import Upstream

PREFIX = "/api/v2"
# A request's path is matched and thrown away: what goes upstream is made from these values.
Handler = Callable[[Upstream, Connection, Mapping[str, str]], Awaitable[None]]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,90}")
_IDS = {
    "workspace_id": re.compile(r"ws-[0-9A-Za-z]{16}"),
    "version_id": re.compile(r"sv-[0-9A-Za-z]{16}"),
    "output_id": re.compile(r"wsout-[0-9A-Za-z]{20}"),
}


class Route(Struct, frozen=True):
    """A path below the prefix, with ``{parameters}`` as whole segments, and who answers it."""

    path: str
    handler: Handler


class RouteMatch(Struct, frozen=True):
    """Who answers a request, and the values of its parameters."""

    handler: Handler
    named: Mapping[str, str]


def match(routes: Iterable[Route], path: str) -> RouteMatch:
    """The route of a path."""
    segments = path.removeprefix(PREFIX).split("/") if path.startswith(f"{PREFIX}/") else []
    for route in routes:
        named = _named(route.path.split("/"), segments)
        if named is not None:
            return RouteMatch(route.handler, named)
    raise RequestRefused(
        403,
        "A run reads the outputs of workspaces that share their state with its own, and nothing "
        "else. For more, give it a token of yours in an environment variable TF_TOKEN_<host>.",
    )


def _named(wanted: list[str], segments: list[str]) -> Mapping[str, str] | None:
    if len(wanted) != len(segments):
        return None
    named = {}
    for want, segment in zip(wanted, segments, strict=True):
        if want.startswith("{"):
            if not _fits(want[1:-1], segment):
                return None
            named[want[1:-1]] = segment
        elif want != segment:
            return None
    return named


def _fits(name: str, value: str) -> bool:
    return bool(_IDS.get(name, _NAME).fullmatch(value))
