"""Query parameters that many routes share; odd values fall back instead of failing."""

from collections.abc import Sequence
from typing import Any

from litestar import Request
from litestar.datastructures import MultiDict
from litestar.di import NamedDependency, Provide

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.pages import DEFAULT_SIZE, LARGEST, Paging
from terrapod_control_plane.web import auth
from terrapod_control_plane.web.include import Include

Ctx = NamedDependency[Context]
PagingParam = NamedDependency[Paging]
IncludeParam = NamedDependency[Include]
# Taken by handlers as `asked`; Litestar keeps the name `query` to itself.
Query = NamedDependency[MultiDict[str]]

_MOST_PAGES = 1_000_000


def _paging(request: Request[Any, Any, Any]) -> Paging:
    number = _number(request.query_params.get("page[number]"), 1, _MOST_PAGES)
    return Paging(number, _number(request.query_params.get("page[size]"), DEFAULT_SIZE, LARGEST))


def _number(text: str | None, default: int, largest: int) -> int:
    if not text or not text.isdecimal() or len(text) > 9 or int(text) < 1:
        return default
    return min(int(text), largest)


def _include(request: Request[Any, Any, Any]) -> Include:
    names = request.query_params.get("include", "").split(",")
    return Include(tuple(n.strip() for n in names if n.strip()), request.app.state.related)


def _asked(request: Request[Any, Any, Any]) -> MultiDict[str]:
    return request.query_params


def listed(text: str | None) -> Sequence[str]:
    """The values of a comma-joined parameter."""
    return [part for part in (text or "").split(",") if part]


DEPENDENCIES = {
    "ctx": Provide(auth.context, sync_to_thread=False),
    "asked": Provide(_asked, sync_to_thread=False),
    "paging": Provide(_paging, sync_to_thread=False),
    "include": Provide(_include, sync_to_thread=False),
}
