"""Relationships of JSON:API documents, marked on the fields of flat structs."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from terrapod_control_plane.kernel import ids


class _Identifier(Struct):
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    attributes: dict[str, Any] = {}


class _Linkage(Struct):
    data: _Identifier | list[_Identifier] | None = None


class Relation(NamedTuple):
    """What a marked field says of itself; an empty type means: told by the id's prefix."""

    type: str
    many: bool = False
    into: Any = None

    def link(self, value: Any) -> Any:
        """The resource linkage of a field's value."""
        if self.many:
            return [self._identifier(id_) for id_ in value]
        return None if value is None else self._identifier(value)

    def _identifier(self, id_: str) -> dict[str, str]:
        return {"id": id_, "type": self.type or ids.KINDS[id_.partition("-")[0]]}

    def unlink(self, name: str, raw: Raw) -> Any:
        """The field's value of a resource linkage that a client sent."""
        data = msgspec.json.decode(raw, type=_Linkage).data
        identifiers = data if isinstance(data, list) else [data] if data else []
        if wrong := [i.type for i in identifiers if i.type not in (self.type, UNSET, "")]:
            message = f"Expected `{self.type}`, got `{wrong[0]}` - at `$.{name}`"
            raise msgspec.ValidationError(message)
        values = [self._value(i, name) for i in identifiers]
        return values if self.many else next(iter(values), None)

    def _value(self, identifier: "_Identifier", name: str) -> Any:
        if self.into is not None:
            return msgspec.convert(identifier.attributes, self.into)
        if identifier.id is UNSET:
            raise msgspec.ValidationError(f"Linkage without an id - at `$.{name}`")
        return identifier.id


def one(type_: str = "") -> Relation:
    """The mark of a to-one relationship, put into ``Annotated`` beside the type of an id.

    Without a type the related object's kind is told by the prefix of its id.
    """
    return Relation(type_)


def many(type_: str, into: type[Struct] | None = None) -> Relation:
    """The mark of a to-many relationship, put into ``Annotated`` beside a list of ids.

    With ``into``, linkage objects carry attributes of something new and become such structs.
    """
    return Relation(type_, many=True, into=into)


@functools.cache
def relations(cls: Any) -> Mapping[str, Relation]:
    """The relationships that a resource or payload class declares, by their wire names."""
    return {
        field.encode_name: mark
        for field in msgspec.structs.fields(cls)
        if (mark := _mark(field.type)) is not None
    }


def _mark(kind: Any) -> Relation | None:
    own = (m for m in getattr(kind, "__metadata__", ()) if isinstance(m, Relation))
    nested = (mark for inner in getattr(kind, "__args__", ()) if (mark := _mark(inner)))
    return next(own, None) or next(nested, None)
