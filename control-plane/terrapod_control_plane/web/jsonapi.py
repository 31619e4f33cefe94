"""Speaks JSON:API on every route: the one place that binds the codec to Litestar."""

from typing import Any

import msgspec
from litestar import Response
from litestar.typing import FieldDefinition
from msgspec import NODEFAULT, UNSET, Struct

from terrapod_control_plane.kernel import jsonapi
from terrapod_control_plane.kernel.jsonapi import Payload, Resource
from terrapod_control_plane.kernel.relations import relations
from terrapod_control_plane.web.plain_dto import PlainDto


class JsonApi(PlainDto):
    """Set as ``dto`` and ``return_dto`` once, on the API router; handlers stay plain.

    A handler takes ``data: SomePayload`` (or a list of it) and returns a resource, a sequence of
    them, a page or a compound.
    """

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:
        """Whether a resource or payload is what the annotation is about."""
        return _subject(field_definition) is not None

    def decode_bytes(self, value: bytes) -> Any:
        """The request body as payload structs."""
        field = self.asgi_connection.route_handler.parsed_data_field
        payload: Any = _subject(field)
        return jsonapi.load_all(value, payload) if _is_many(field) else jsonapi.load(value, payload)

    def data_to_encodable_type(self, data: Any) -> Any:
        """What the handler returned, as a document."""
        url = self.asgi_connection.url.path
        query = _query_without_page(self.asgi_connection.url.query)
        if isinstance(data, Response):
            if data.content is not None:
                data.content = jsonapi.dump(data.content, url, query)
            return data
        return jsonapi.dump(data, url, query)

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Any:
        """The enveloped shape, for the OpenAPI description."""
        subject = _subject(field_definition)
        document = _document(subject, many=_is_many(field_definition)) if subject else None
        described = FieldDefinition.from_annotation(document) if document else field_definition
        return schema_creator.for_field_definition(described)


def _query_without_page(query: str) -> str:
    kept = [part for part in query.split("&") if part and not part.startswith(("page%5B", "page["))]
    return "&".join(kept)


def _subject(field: FieldDefinition) -> type[Struct] | None:
    if field.is_subclass_of((Resource, Payload)):
        subject: type[Struct] = field.annotation
        return subject
    return next((s for inner in field.inner_types if (s := _subject(inner))), None)


def _is_many(field: FieldDefinition) -> bool:
    return not field.is_subclass_of((Resource, Payload, Response, jsonapi.Compound))


# --- the enveloped shape of a class, only ever used to describe it in OpenAPI ---------------------


class Identifier(Struct):
    """A resource identifier."""

    id: str
    type: str


class ToOne(Struct):
    """A to-one relationship."""

    data: Identifier | None


class ToMany(Struct):
    """A to-many relationship."""

    data: list[Identifier]


def _document(cls: type[Struct], *, many: bool) -> type[Struct]:
    name = cls.__name__
    groups: dict[str, list[Any]] = {"Attributes": [], "Relationships": []}
    for field in msgspec.structs.fields(cls):
        if field.name == "id":
            continue
        required = field.default is NODEFAULT and field.default_factory is NODEFAULT
        optional = () if required else (UNSET,)
        if mark := relations(cls).get(field.encode_name):
            shape = ToMany if mark.many else ToOne
            groups["Relationships"].append((field.name, shape, *optional))
        else:
            groups["Attributes"].append((field.name, field.type, *optional))
    members: list[Any] = [("type", str, cls.__struct_config__.tag)]
    if issubclass(cls, Resource):
        members.append(("id", str))
    for suffix, fields in groups.items():
        if fields:
            group = msgspec.defstruct(name + suffix, fields, rename="kebab", kw_only=True)
            members.append((suffix.lower(), group))
    data: Any = msgspec.defstruct(f"{name}Data", members, kw_only=True)
    if many:
        return msgspec.defstruct(f"{name}ListDocument", [("data", list[data])])
    return msgspec.defstruct(f"{name}Document", [("data", data)])
