"""What a door answers, in the words of JSON:API, which terraform shows to its user."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

JSON_API = "application/vnd.api+json"
# As the server itself says it; clients look at the version on their first call.
_ALWAYS = {
    "TFP-API-Version": "2.6",
    "TFP-AppName": "Terrapod",
    "X-TFE-Version": "v202501-1",
    "Cache-Control": "no-store",
}
_TITLES = {
    400: "bad request",
    401: "unauthorized",
    403: "forbidden",
    404: "not found",
    409: "conflict",
    413: "payload too large",
    422: "invalid attribute",
    431: "request header fields too large",
}


class Response(Struct, frozen=True, kw_only=True):
    """An answer that is whole."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON_API
    headers: Mapping[str, str] = {}

    def header_list(self) -> list[tuple[str, str]]:
        """Its headers, but for the length."""
        kind = {"Content-Type": self.content_type} if self.body else {}
        return list((_ALWAYS | kind | dict(self.headers)).items())


class RequestRefused(Exception):
    """Ends a request with a status and a sentence for the user."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail

    def response(self) -> Response:
        """As a document."""
        title = _TITLES.get(self.status, "service unavailable")
        error = {"status": str(self.status), "title": title, "detail": self.detail}
        return Response(status=self.status, body=msgspec.json.encode({"errors": [error]}))


def document(data: Any) -> Response:
    """One resource, or a list of them."""
    return Response(body=msgspec.json.encode({"data": data}))
