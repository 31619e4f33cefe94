"""JSON:API documents as flat msgspec structs.

A resource is one flat struct. Its class tag is the JSON:API ``type``, its ``id`` field is the
``id``, fields marked with :func:`one` or :func:`many` are relationships, and every other field is
an attribute. The envelope exists only in this module: handlers take and return plain structs.
"""

import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from terrapod_control_plane.kernel.reading import Malformed, read_json
from terrapod_control_plane.kernel.relations import Relation, many, one, relations

__all__ = ["Relation", "many", "one", "relations"]

MEDIA_TYPE = "application/vnd.api+json"
_TAG = "$type"  # holds the JSON:API type of a struct; attributes may be called `type` themselves

R = TypeVar("R", bound="Resource")
M = TypeVar("M", bound=Struct)
P = TypeVar("P", bound="Payload")
T = TypeVar("T")


class _Any(tuple[()]):
    __slots__ = ()

    def __contains__(self, _: object) -> bool:
        return True


ANY: Collection[Any] = _Any()


class Resource(Struct, kw_only=True, rename="kebab", tag_field=_TAG):
    """Base of everything the API returns: ``class Run(Resource, tag="runs", kw_only=True)``."""

    at: ClassVar[str] = ""  # where one is found, as "/api/v2/runs/{id}"; fills links.self
    id: str

    def links(self) -> dict[str, str | None]:
        """The ``links`` member; without one of its own a resource links to itself."""
        return {"self": self.at.format(id=self.id)} if self.at else {}


class Payload(Struct, kw_only=True, rename="kebab", tag_field=_TAG):
    """Base of all that the API accepts. Fields that may be left out default to ``UNSET``.

    A ``bare`` payload also takes an empty body and plain members outside of any document, as
    clients send for actions.
    """

    bare: ClassVar[bool] = False
    # What clients send back of what they were shown, and what may not be set by it.
    echoes: ClassVar[type[Resource] | None] = None
    # What the API's clients send beside the fields, and the values of it that mean what is done
    # here anyway; ANY where it does not matter. What is sent beside these has to be empty.
    idle: ClassVar[Mapping[str, Collection[Any]]] = {}

    def given(self) -> dict[str, Any]:
        """Only the fields that the client sent, by their Python names."""
        return {
            name: value
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not UNSET
        }

    def into(self, model: type[M]) -> M:
        """The model that a use case takes, made of the fields of the same names."""
        return model(**{k: v for k, v in self.given().items() if k in model.__struct_fields__})


class Page(Struct, Generic[R]):
    """One page of a list, with what is needed to describe the others."""

    items: Sequence[R]
    number: int
    size: int
    total: int

    @property
    def last(self) -> int:
        """The number of the last page; 0 when the list is empty."""
        return -(-self.total // self.size)


class Compound(Struct, Generic[R]):
    """A primary document plus the related resources that ``?include=`` asked for."""

    primary: "R | Page[R] | Sequence[R]"
    included: Sequence[Resource]


class Problem(Struct, omit_defaults=True):
    """One member of an ``errors`` array."""

    status: str
    title: str
    detail: str = ""
    source: dict[str, str] = {}
    code: str = ""


class Invalid(ValueError):
    """A request body is not a valid document for the expected payload."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


# --- structs to documents -------------------------------------------------------------------------


def present(model: object, into: type[R]) -> R:
    """Make a resource of a model: same-named fields and properties are taken over."""
    return msgspec.convert(model, into, from_attributes=True)


def dump(value: Any, url: str = "", query: str = "") -> dict[str, Any]:
    """Turn a resource, a sequence of them, a page or a compound into a document.

    ``url`` and ``query`` (the encoded query without the page) make the links of a page.
    """
    if isinstance(value, Compound):
        included = {(type(r), r.id): r for r in value.included}
        document = dump(value.primary, url, query)
        return document | {"included": [dump_one(r) for r in included.values()]}
    if isinstance(value, Page):
        meta = _page_meta(value)
        data = [dump_one(item) for item in value.items]
        links = _page_links(value, url, query)
        return {"data": data, "links": links, "meta": {"pagination": meta}}
    if isinstance(value, Resource):
        return {"data": dump_one(value)}
    return {"data": [dump_one(item) for item in value]}


def dump_errors(problems: Iterable[Problem]) -> dict[str, Any]:
    """An error document."""
    return {"errors": msgspec.to_builtins(list(problems))}


def dump_one(resource: Resource) -> dict[str, Any]:
    """A resource as a member of a document."""
    attributes = msgspec.to_builtins(resource, builtin_types=(Raw,))  # JSON as it is stays so
    document: dict[str, Any] = {"id": attributes.pop("id"), "type": attributes.pop(_TAG)}
    relationships = {
        name: {"data": relation.link(attributes.pop(name))}
        for name, relation in relations(type(resource)).items()
        if name in attributes
    }
    document["attributes"] = attributes
    if relationships:
        document["relationships"] = relationships
    if links := resource.links():
        document["links"] = links
    return document


def _page_meta(page: Page[Any]) -> dict[str, int | None]:
    return {
        "current-page": page.number,
        "page-size": page.size,
        "prev-page": page.number - 1 if page.number > 1 else None,
        "next-page": page.number + 1 if page.number < page.last else None,
        "total-pages": page.last,
        "total-count": page.total,
    }


def _page_links(page: Page[Any], url: str, query: str) -> dict[str, str]:
    meta = _page_meta(page)
    numbers = {"self": page.number, "first": 1, "last": max(1, page.last)}
    numbers |= {rel: n for rel in ("prev", "next") if (n := meta[f"{rel}-page"])}
    kept = f"{query}&" if query else ""
    size = f"page%5Bsize%5D={page.size}&page%5Bnumber%5D="
    return {rel: f"{url}?{kept}{size}{n}" for rel, n in numbers.items()}


# --- documents to structs -------------------------------------------------------------------------


class _Data(Struct):
    type: str | UnsetType | None = UNSET
    id: str | UnsetType | None = UNSET
    attributes: dict[str, Any] | None = None
    relationships: dict[str, Raw] | None = None


class _Document(Struct):
    data: _Data


class _Documents(Struct):
    data: list[_Data]


class _Anything(Struct):
    data: Raw | UnsetType = UNSET


def load(raw: bytes, into: type[P]) -> P:
    """Read a request body into a payload struct; raises :class:`Invalid`.

    What it asks for that the payload does not have is refused by its name, never dropped.
    """
    return _guarded(functools.partial(_load, raw, into), into)


def load_all(raw: bytes, into: type[P]) -> list[P]:
    """Read a body whose ``data`` is an array, as the relationship routes take."""
    return _guarded(lambda: [_flatten(d, into) for d in _read(raw, _Documents).data], into)


def _guarded(read: Callable[[], T], into: type[Payload]) -> T:
    try:
        return read()
    except _Unreadable as error:
        raise Invalid(Problem("400", "bad request", str(error))) from error
    except msgspec.ValidationError as error:
        raise Invalid(_problem(str(error), into)) from error


_EMPTY: Collection[Any] = (False, 0, "", [], {})


class _Unreadable(Exception):
    """Not JSON, or not shaped like a document."""


def _read(raw: bytes, document: Any) -> Any:
    try:
        return read_json(raw, document)
    except (Malformed, msgspec.ValidationError) as error:
        raise _Unreadable(f"The body is not a JSON:API document: {error}") from error


def _load(raw: bytes, into: type[P]) -> P:
    if into.bare and (not raw.strip() or _read(raw, _Anything).data is UNSET):
        plain = _read(raw, dict[str, Any]) if raw.strip() else {}
        return _converted({k: v for k, v in plain.items() if k != "type"}, into)
    data = _read(raw, _Document).data
    flat = _flatten(data, into)
    _refuse_unserved("attributes", data.attributes or {}, into)
    linked = {name: _linked(link) for name, link in (data.relationships or {}).items()}
    _refuse_unserved("relationships", linked, into)
    return flat


def _linked(raw: Raw) -> Any:
    link = msgspec.json.decode(raw)
    return link.get("data") if isinstance(link, dict) else link


def _refuse_unserved(member: str, sent: Mapping[str, Any], into: type[Payload]) -> None:
    shown = _names(into.echoes) if into.echoes else set()
    for name, value in sent.items():
        means_nothing = into.idle.get(name, ANY if name in shown else _EMPTY)
        if name not in _names(into) and value is not None and value not in means_nothing:
            detail = f"{name} is not supported by this server: leave it out."
            source = {"pointer": f"/data/{member}/{name}"}
            raise Invalid(Problem("422", "invalid attribute", detail, source))


@functools.cache
def _names(of: type[Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(of)}


def _flatten(data: _Data, into: type[P]) -> P:
    flat = dict(data.attributes or {})
    for name, relation in relations(into).items():
        flat.pop(name, None)
        if data.relationships and name in data.relationships:
            flat[name] = relation.unlink(name, data.relationships[name])
    # Without a tag of its own a payload takes whatever type clients send for it.
    tagged = into.__struct_config__.tag != into.__name__
    own = {_TAG: (tagged and data.type) or UNSET, "id": data.id}
    return _converted(flat | {k: v for k, v in own.items() if v not in (UNSET, None)}, into)


def _converted(flat: dict[str, Any], into: type[P]) -> P:
    return msgspec.convert(flat, into)


def _problem(message: str, into: type[Payload]) -> Problem:
    at = re.search(r"\$\.(\$?[\w-]+)", message) or re.search(r"field `(\$?[\w-]+)`", message)
    name = at[1].lstrip("$") if at else ""
    if name in ("", "data", "id", "type"):
        pointer = f"/data/{name}" if name in ("id", "type") else "/data"
    else:
        member = "relationships" if name in relations(into) else "attributes"
        pointer = f"/data/{member}/{name}"
    return Problem("422", "invalid attribute", message, {"pointer": pointer})
