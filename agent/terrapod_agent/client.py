"""The only file that knows HTTP: typed calls out, answers or one kind of error back."""

import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin

import anyio
import httpx2
import msgspec
from anyio import to_thread
from msgspec import Struct

from terrapod_agent import api_errors
from terrapod_agent import identity as identities
from terrapod_agent.connectivity import Connectivity
from terrapod_agent.errors import CertificateRefused, RequestDenied, ServerUnavailable
from terrapod_agent.handshake import Handshake
from terrapod_agent.settings import Waits
from terrapod_common import agent_protocol, files
from terrapod_common.agent_protocol import Call, Code
from terrapod_common.version import VERSION

Q = TypeVar("Q")
A = TypeVar("A")
_BLOCK = 256 * 1024
_DIGEST = "x-terrapod-digest"
# Longer than between two heartbeats, so that they share a connection; the server waits longer.
_KEEP_ALIVE = 45.0


class Downloaded(Struct, frozen=True):
    """A download that is complete on the disk."""

    size: int
    digest: str  # sha256 hex


class ToolLocation(Struct, frozen=True):
    """Where an executable is, and the sha256 hex that it must have."""

    url: str
    digest: str


class Client:
    """Speaks to one port of one server. ``named`` values fill the path, then the query."""

    def __init__(
        self,
        base_url: str,
        trust: ssl.SSLContext,
        waits: Waits,
        connectivity: Connectivity,
        listener: str = "",
    ) -> None:
        self._waits = waits
        self._connectivity = connectivity
        self._listener = listener
        self._base_url = base_url.rstrip("/")
        self._http = self._open(trust)
        self._retired: list[httpx2.AsyncClient] = []

    async def close(self) -> None:
        """Let go of every connection."""
        for http in (*self._retired, self._http):
            await http.aclose()

    async def use_certificate(self, trust: ssl.SSLContext) -> None:
        """Go on with a new certificate; what is under way ends with the old one."""
        # Connections of the generation before last have had a whole renewal period to finish.
        for http in self._retired:
            await http.aclose()
        self._retired = [self._http]
        self._http = self._open(trust)

    async def call_optional(
        self, call: Call[Q, A], question: Q, *, wait: float = 0.0, **named: str | float
    ) -> A | None:
        """The answer, or nothing where the server has none (204). ``wait`` is for long polls."""
        body = None if question is None else msgspec.json.encode(question)
        if "wait" in call.query:
            named["wait"] = wait
        request = self._request(call, named, body, wait)
        async with self._exchange(call, request) as response:
            content = await response.aread()
        return self._decoded(call, response, content)

    async def call(self, call: Call[Q, A], question: Q, **named: str | float) -> A:
        """The answer; none at all counts as no contact."""
        answer = await self.call_optional(call, question, wait=0.0, **named)
        if answer is None:
            raise ServerUnavailable(f"{call.name}: an empty answer where one is due")
        return answer

    async def upload(self, call: Call[bytes, A], body: bytes | Path, **named: str | float) -> A:
        """Upload bytes or a file, streamed."""
        stream = body if isinstance(body, bytes) else _blocks(body)
        request = self._request(call, named, stream, 0)
        if isinstance(body, Path):
            request.headers["content-length"] = str((await anyio.Path(body).stat()).st_size)
            request.headers.pop("transfer-encoding", None)
        async with self._exchange(call, request) as response:
            content = await response.aread()
        answer = self._decoded(call, response, content)
        if answer is None:
            raise ServerUnavailable(f"{call.name}: an empty answer where one is due")
        return answer

    async def download(
        self, call: Call[None, bytes], into: Path, **named: str | float
    ) -> Downloaded:
        """Download to a file; it is complete when this returns."""
        async with self._exchange(call, self._request(call, named, None, 0)) as response:
            return await self._saved(response, into)

    @asynccontextmanager
    async def stream(
        self, call: Call[None, bytes], **named: str | float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Download as a stream, for as long as the block lasts."""
        async with self._exchange(call, self._request(call, named, None, 0)) as response:
            yield response.aiter_raw()

    async def locate_tool(self, **named: str) -> ToolLocation:
        """Where an executable can be fetched, and the digest that it must have."""
        request = self._request(agent_protocol.TOOL, named, None, 0)
        async with self._exchange(agent_protocol.TOOL, request) as response:
            digest, location = response.headers.get(_DIGEST), response.headers.get("location")
        if not digest or not location:
            raise RequestDenied(
                "the server does not say where the tool is and what digest it has", 200
            )
        target = httpx2.URL(urljoin(str(request.url), location))
        # Our certificate is for our server alone, so nobody else is ever asked.
        if (target.scheme, target.netloc) != (request.url.scheme, request.url.netloc):
            raise RequestDenied(
                f"the server sends us to another host for a tool: {target.host}", 302
            )
        return ToolLocation(str(target), digest)

    async def download_tool(self, located: ToolLocation, into: Path) -> Downloaded:
        """Download an executable; the caller compares the digests."""
        request = self._http.build_request("GET", located.url)
        async with self._exchange(agent_protocol.TOOL, request) as response:
            return await self._saved(response, into)

    def _open(self, trust: ssl.SSLContext) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            verify=trust,
            timeout=httpx2.Timeout(self._waits.answer, connect=self._waits.connect, pool=None),
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=_KEEP_ALIVE),
            headers={"user-agent": f"terrapod-agent/{VERSION}", "accept": "application/json"},
        )

    def _request(
        self,
        call: Call[Any, Any],
        named: Any,
        body: bytes | AsyncIterator[bytes] | None,
        wait: float,
    ) -> httpx2.Request:
        values = {"listener_id": self._listener, **named}
        path = call.path.format_map({key: quote(str(value), "") for key, value in values.items()})
        headers = {} if body is None else {"content-type": _content_type(call)}
        return self._http.build_request(
            call.method,
            self._base_url + path,
            params={name: values[name] for name in call.query if name in values},
            content=body,
            headers=headers,
            timeout=httpx2.Timeout(
                self._waits.answer + wait, connect=self._waits.connect, pool=None
            ),
        )

    @asynccontextmanager
    async def _exchange(
        self, call: Call[Any, Any], request: httpx2.Request
    ) -> AsyncIterator[httpx2.Response]:
        answered = False
        request.extensions["trace"] = Handshake().trace
        try:
            response = await self._http.send(request, stream=True)
            answered = True
            try:
                if response.status_code >= 400:
                    await response.aread()
                    retry_after = response.headers.get("retry-after")
                    raise api_errors.from_response(
                        call, response.status_code, response.content, retry_after
                    )
                yield response
            finally:
                await response.aclose()
        except httpx2.RequestError as error:
            away = _cut_off(call, error) if answered else _unavailable(error)
            self._connectivity.mark_unavailable(away)
            raise away from error
        except ServerUnavailable as away:
            self._connectivity.mark_unavailable(away)
            raise
        except RequestDenied as denied:
            if denied.means(Code.CERTIFICATE, Code.UNKNOWN_LISTENER, otherwise={401}):
                self._connectivity.mark_refused(denied)
            else:
                self._connectivity.mark_answered()
            raise
        self._connectivity.mark_answered()

    def _decoded(self, call: Call[Q, A], response: httpx2.Response, content: bytes) -> A | None:
        if response.status_code == 204 or call.response is None:
            return None
        if response.is_redirect:
            raise RequestDenied(f"{call.name}: an unexpected redirect", response.status_code)
        try:
            answer: A = msgspec.json.decode(content, type=call.response)
        except msgspec.DecodeError as error:
            # A proxy in between says such things while the server restarts.
            away = ServerUnavailable(f"{call.name}: the answer makes no sense: {error}")
            self._connectivity.mark_unavailable(away)
            raise away from error
        return answer

    async def _saved(self, response: httpx2.Response, into: Path) -> Downloaded:
        digest, size = hashlib.sha256(), 0
        async with await anyio.open_file(into, "wb") as file:
            await anyio.Path(into).chmod(0o600)
            async for block in response.aiter_raw():
                digest.update(block)
                size += len(block)
                await file.write(block)
        return Downloaded(size, digest.hexdigest())


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    opened = await to_thread.run_sync(files.open_regular, path)
    async with anyio.wrap_file(opened) as file:
        while block := await file.read(_BLOCK):
            yield block


def _content_type(call: Call[Any, Any]) -> str:
    return "application/octet-stream" if call.request is bytes else "application/json"


def _cut_off(call: Call[Any, Any], error: httpx2.RequestError) -> ServerUnavailable:
    text = str(error) or type(error).__name__
    return ServerUnavailable(f"{call.name}: the answer ended in the middle ({text})", broken=True)


def _unavailable(error: httpx2.RequestError) -> ServerUnavailable:
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        doubt = identities.doubt_about_clock(text) or "is --ca-file right?"
        return ServerUnavailable(f"the server's certificate is not trusted ({text}); {doubt}")
    # With TLS 1.3 a refused client learns it at its first read, as an end of the connection.
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError) or "ALERT" in text.upper():
        return CertificateRefused(
            f"the server closed the connection ({text}); either it is restarting or it refuses"
            " our certificate (revoked, ended, or of another authority)"
        )
    if isinstance(error, httpx2.TimeoutException):
        return ServerUnavailable(
            f"no answer from {error.request.url.host} in time ({type(error).__name__})"
        )
    return ServerUnavailable(
        f"cannot reach {error.request.url.host}:{error.request.url.port or 443}: {text}"
    )
