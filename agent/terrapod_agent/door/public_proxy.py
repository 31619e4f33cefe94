"""Passes on what a run asks with a token of its own, as if there were no door."""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
from msgspec import Struct

from terrapod_agent.door.connection import Connection, Request
from terrapod_agent.door.responses import JSON_API, RequestRefused, Response
from terrapod_agent.door.routes import PREFIX
from terrapod_agent.identity import public_context
from terrapod_common.version import VERSION

_TARGET = re.compile(rf"({PREFIX}(?:/[A-Za-z0-9_.~+=-]+)+)(?:\?([A-Za-z0-9_.~%=&+,:@!*\[\]-]*))?")
_PASSED_ON = ("content-type", "location", "tfp-api-version", "tfp-appname", "x-tfe-version")
_LARGEST_DOCUMENT = 4 * 1024 * 1024
_TIMES = httpx2.Timeout(60, connect=10, pool=60)
_AT_ONCE = httpx2.Limits(max_connections=4)


class PublicAddress(Struct, frozen=True):
    """The public port of the server, and the PEM of whom to trust there (empty: the system's)."""

    url: str
    ca: str = ""

    @property
    def host(self) -> str:
        """Its name, with the port unless it is 443."""
        parts = urlsplit(self.url)
        return (parts.hostname or "") + (f":{parts.port}" if parts.port not in (None, 443) else "")


class PublicProxy:
    """The public port for one door; connections are made at first use."""

    def __init__(self, address: PublicAddress) -> None:
        self._address = address
        self._http: httpx2.AsyncClient | None = None
        self._ours: Mapping[str, str] = {}

    def serve_at(self, here: str, hosts: Iterable[str]) -> None:
        """Show addresses of the server as addresses of the door, where it can be reached."""
        names = {urlsplit(self._address.url).netloc, *hosts}
        self._ours = {f"https://{name}{PREFIX}/": f"{here}{PREFIX}/" for name in names}

    async def close(self) -> None:
        """Let go of the connections."""
        if self._http is not None:
            await self._http.aclose()

    async def forward(self, request: Request, connection: Connection) -> None:
        """Answer with what the server answers to this bearer; only reading is passed on."""
        target = _TARGET.fullmatch(request.target)
        if request.method != "GET" or target is None or _leaves(target[1]):
            raise RequestRefused(
                403, "With a token of your own a run may read the API; no more of it."
            )
        url = self._address.url.rstrip("/") + target[1] + (f"?{target[2]}" if target[2] else "")
        headers = {"authorization": f"Bearer {request.bearer}", "accept": JSON_API}
        try:
            async with self._client().stream("GET", url, headers=headers) as response:
                await self._answer(response, connection)
        except httpx2.RequestError as error:
            if connection.response_started:
                raise ConnectionAbortedError("the server broke off") from error
            raise RequestRefused(503, f"The server does not answer: {error}") from error

    async def _answer(self, response: httpx2.Response, connection: Connection) -> None:
        kept = {name: value for name, value in response.headers.items() if name in _PASSED_ON}
        kind = kept.pop("content-type", "")
        if "location" in kept:
            kept["location"] = self._here(kept["location"])
        answer = Response(status=response.status_code, content_type=kind, headers=kept)
        if response.status_code in (204, 304):
            await connection.send(answer)
        elif not kind.startswith(JSON_API):
            await connection.stream(answer, response.aiter_bytes())
        else:
            body = await _whole(response)
            text = self._here(body.decode(errors="surrogateescape"))
            encoded = text.encode(errors="surrogateescape")
            await connection.send(
                Response(status=response.status_code, content_type=kind, headers=kept, body=encoded)
            )

    def _here(self, text: str) -> str:
        for there, here in self._ours.items():
            text = text.replace(there, here)
        return text

    def _client(self) -> httpx2.AsyncClient:
        if self._http is None:
            agent = {"user-agent": f"terrapod-agent/{VERSION}", "accept-encoding": "identity"}
            trust = public_context(self._address.ca)
            options: dict[str, Any] = {"timeout": _TIMES, "limits": _AT_ONCE, "headers": agent}
            self._http = httpx2.AsyncClient(verify=trust, **options)
        return self._http


def _leaves(path: str) -> bool:
    return not {".", ".."}.isdisjoint(path.split("/"))


async def _whole(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _LARGEST_DOCUMENT:
            raise RequestRefused(413, f"The answer has more than {_LARGEST_DOCUMENT} bytes.")
        await anyio.lowlevel.checkpoint()
    return bytes(body)
