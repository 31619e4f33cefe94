"""``?include=``: related resources, each kind fetched once, unknown names ignored.

A relation is found on the resource itself: its field is marked with the related type. What a type
is fetched with is registered by ``app.py``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import UNSET, Struct

from terrapod_control_plane.kernel import ids
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jsonapi import Compound, Page, Resource
from terrapod_control_plane.kernel.related import Fetch
from terrapod_control_plane.kernel.relations import Relation, relations

R = TypeVar("R", bound=Resource)


class Include(Struct, frozen=True):
    """The names that a request asked for, and how each type is fetched."""

    names: tuple[str, ...]
    fetch: Mapping[str, Fetch]

    async def with_related(self, ctx: Context, primary: R | Page[R] | Sequence[R]) -> Compound[R]:
        """The primary document with what it asked for beside it."""
        included: dict[str, Resource] = {}
        for path in self.names:
            level = list(_items(primary))
            for name in path.split("."):
                level = await self._related(ctx, level, name)
                included |= {resource.id: resource for resource in level}
        return Compound(primary, list(included.values()))

    async def _related(
        self, ctx: Context, resources: Iterable[Resource], name: str
    ) -> list[Resource]:
        wanted: dict[str, dict[str, None]] = {}
        for resource in resources:
            for type_, id_ in _linked(resource, name.replace("_", "-")):
                wanted.setdefault(type_, {})[id_] = None
        found: list[Resource] = []
        for type_, linked in wanted.items():
            if type_ in self.fetch:
                found.extend(await self.fetch[type_](ctx, list(linked)))
        return found


def _items(primary: Any) -> Iterable[Resource]:
    if isinstance(primary, Resource):
        return [primary]
    items: Iterable[Resource] = primary.items if isinstance(primary, Page) else primary
    return items


def _linked(resource: Resource, name: str) -> Iterable[tuple[str, str]]:
    relation: Relation | None = relations(type(resource)).get(name)
    value = getattr(resource, name.replace("-", "_"), None) if relation else None
    if relation is None or value in (None, UNSET):
        return []
    linked = value if relation.many else [value]
    return [(relation.type or ids.KINDS[id_.partition("-")[0]], id_) for id_ in linked]
