"""Query parameters that many routes share: odd values of people fall back, of agents they fail."""

import re
from collections.abc import Sequence
from typing import Any

from litestar import Request
from litestar.datastructures import MultiDict
from litestar.di import NamedDependency, Provide

from terrapod_common.wire import LARGEST_INTEGER
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import BadRequest
from terrapod_control_plane.kernel.pages import DEFAULT_SIZE, LARGEST, Paging
from terrapod_control_plane.web import auth
from terrapod_control_plane.web.include import Include

AnyRequest = Request[Any, Any, Any]
Ctx = NamedDependency[Context]
PagingParam = NamedDependency[Paging]
IncludeParam = NamedDependency[Include]
# Taken by handlers as `asked`; Litestar keeps the name `query` to itself.
Query = NamedDependency[MultiDict[str]]

_MOST_PAGES = 1_000_000
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?")
_WHOLE = re.compile(r"-?[0-9]{1,16}")


def _paging(request: AnyRequest) -> Paging:
    number = _number(request.query_params.get("page[number]"), 1, _MOST_PAGES)
    return Paging(number, _number(request.query_params.get("page[size]"), DEFAULT_SIZE, LARGEST))


def _number(text: str | None, default: int, largest: int) -> int:
    if not text or not text.isdecimal() or len(text) > 9 or int(text) < 1:
        return default
    return min(int(text), largest)


def _include(request: AnyRequest) -> Include:
    names = request.query_params.get("include", "").split(",")
    return Include(tuple(n.strip() for n in names if n.strip()), request.app.state.related)


def _asked(request: AnyRequest) -> MultiDict[str]:
    return request.query_params


def listed(text: str | None) -> Sequence[str]:
    """The values of a comma-joined parameter."""
    return [part for part in (text or "").split(",") if part]


def whole_number(text: str | None) -> int:
    """A whole number, -1 when there is none or less; raises :class:`BadRequest` for other text."""
    if text is None:
        return -1
    if not _WHOLE.fullmatch(text) or int(text) > LARGEST_INTEGER:
        raise BadRequest(f"{text[:40]!r} is not a whole number up to {LARGEST_INTEGER}.")
    return max(int(text), -1)


def seconds(text: str | None) -> float:
    """A duration, 0 when there is none; raises :class:`BadRequest` for other text."""
    if not text:
        return 0.0
    if not _SECONDS.fullmatch(text):
        raise BadRequest(f"{text[:40]!r} is not a number of seconds.")
    return float(text)


DEPENDENCIES = {
    "ctx": Provide(auth.context, sync_to_thread=False),
    "asked": Provide(_asked, sync_to_thread=False),
    "paging": Provide(_paging, sync_to_thread=False),
    "include": Provide(_include, sync_to_thread=False),
}
