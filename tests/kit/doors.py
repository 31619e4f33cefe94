"""A door without an agent around it, and clients that speak to it byte by byte."""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import msgspec
from anyio.abc import ByteStream
from msgspec import Struct

from terrapod_agent import enroll
from terrapod_agent import identity as identities
from terrapod_agent.client import Client
from terrapod_agent.connectivity import Connectivity
from terrapod_agent.door.credentials import DoorCredentials
from terrapod_agent.door.door import DoorLimits, DoorTarget, open_door
from terrapod_agent.door.public_proxy import PublicAddress
from terrapod_agent.door.upstream import Upstream
from tests.kit.agent_records import PhaseRecord
from tests.kit.agent_server import AgentServer
from tests.kit.agents import quick
from tests.kit.asgi import Answer, Peer, Question, application, serve


class Told(Struct, frozen=True):
    """An answer, taken apart; status 0 when there was none."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        """The sentence of an error."""
        told: str = msgspec.json.decode(self.body)["errors"][0]["detail"]
        return told

    @property
    def data(self) -> object:
        """The data of a document."""
        return msgspec.json.decode(self.body)["data"]


class Caller:
    """A program on this machine that speaks to a door."""

    def __init__(self, port: int, bearer: str) -> None:
        self.port = port
        self.bearer = bearer

    async def get(self, target: str, bearer: str | None = None, method: str = "GET") -> Told:
        """The answer to a request."""
        shown = self.bearer if bearer is None else bearer
        authorization = f"Authorization: Bearer {shown}\r\n" if shown else ""
        lines = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{authorization}\r\n"
        return await self.raw(lines.encode())

    async def raw(self, request: bytes) -> Told:
        """The answer to bytes."""
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            await stream.send(request)
            return await answer(stream)

    def with_password(self, request: str) -> bytes:
        """Lines of a request, with the right password in them."""
        lines = request.replace("\n", "\r\n")
        return lines.replace("PASSWORD", self.bearer).encode()


async def answer(stream: ByteStream) -> Told:
    """What comes until the end."""
    got = b""
    try:
        while True:
            got += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        pass
    head, _, body = got.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    return Told(int(first.split()[1]) if first else 0, headers, body)


def _unchunked(body: bytes) -> bytes:
    found = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return found
        found, body = found + body[: int(size, 16)], body[int(size, 16) + 2 :]


@asynccontextmanager
async def door_of(
    server: AgentServer,
    folder: Path,
    phase: PhaseRecord,
    limits: DoorLimits | None = None,
    *,
    public: str = "",
    patience: float = 5.0,
    guest: Callable[[], int | None] = lambda: None,
) -> AsyncIterator[Caller]:
    """The door of a phase, open for a user; the caller knows its password."""
    settings = quick(folder, server)
    identity = await enroll.join(settings)
    trust = identities.agent_context(folder, identity)
    client = Client(identity.agent_url, trust, settings.waits, Connectivity(), identity.listener_id)
    keys = DoorCredentials.generate()
    upstream = Upstream(client, settings.backoff(), phase.work, keys.download, patience)
    address = PublicAddress(public or server.url, server.authority.pem)
    way = DoorTarget(upstream, address, phase.work.hosts, guest)
    try:
        async with open_door(way, keys, limits) as hosts:
            port = urlsplit(hosts[0].services["tfe.v2"]).port
            assert port is not None
            assert hosts[0].token == keys.password
            yield Caller(port, keys.password)
    finally:
        await client.close()


class PublicPort:
    """A public port that answers as it is told to and remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Question] = []
        self.peers: list[Peer] = []
        self.answers: dict[str, Answer] = {}  # by path
        self.answer = Answer(200, b"{}", {"content-type": "application/vnd.api+json"})

    @asynccontextmanager
    async def up(self, server: AgentServer) -> AsyncIterator["PublicPort"]:
        """Serve under the authority of another server."""

        async def handle(question: Question, peer: Peer) -> Answer:
            self.seen.append(question)
            self.peers.append(peer)
            return self.answers.get(question.path, self.answer)

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=server.authority.pem)
        context.load_cert_chain(server.folder / "server.pem")
        async with serve(application(handle), context, 0) as port:
            self.url = f"https://127.0.0.1:{port}"
            yield self
