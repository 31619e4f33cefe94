"""The bodies of agents: structs of the protocol as plain JSON, in and out."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.typing import FieldDefinition
from msgspec import Struct

from terrapod_control_plane.kernel.errors import BadRequest, Unprocessable
from terrapod_control_plane.kernel.reading import Malformed, read_json
from terrapod_control_plane.web.auth import NOBODY
from terrapod_control_plane.web.plain_dto import PlainDto
from terrapod_control_plane.web.streams import limited

_LARGEST = 1024 * 1024


class AgentRequest(Request[Any, Any, Any]):
    """A request on the router of agents: its documents are small, and those of strangers tiny."""

    async def body(self) -> bytes:
        """The whole body, which can be read once; none at all counts as an empty object."""
        return b"".join([chunk async for chunk in limited(self, self._largest())]) or b"{}"

    def _largest(self) -> int:
        known = self.state.actor is not NOBODY
        strangers: int = self.app.state.services.settings.server.stranger_bytes_at_most
        return _LARGEST if known else strangers


class AgentJson(PlainDto):
    """Set as ``dto`` and ``return_dto`` once, on the router of agents; handlers stay plain.

    A handler takes ``data: SomeStruct`` and returns a struct, or nothing for 204. Unlike Litestar
    itself this takes no text for a number, and tells bad JSON (400) from a wrong shape (422).
    """

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:
        """Whether the annotation is a struct, or a union of some."""
        found = field_definition.is_subclass_of(Struct)
        return found or any(map(cls.is_supported_model_type_field, field_definition.inner_types))

    def decode_bytes(self, value: bytes) -> Struct:
        """The request body as a struct."""
        into = self.asgi_connection.route_handler.parsed_data_field.annotation
        try:
            found: Struct = read_json(value, into)
        except Malformed as error:
            raise BadRequest(f"The body is not JSON: {error}") from None
        except msgspec.ValidationError as error:
            raise Unprocessable(str(error)) from None
        return found

    def data_to_encodable_type(self, data: Any) -> Any:
        """What the handler returned; 204 for nothing."""
        return Response(None, status_code=204) if data is None else msgspec.json.encode(data)
