"""A client that costs little, for it shares the cores with the server: HTTP/1.1 by hand."""

import asyncio
import itertools
import ssl
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

JSON_API = "application/vnd.api+json"


class Answer(NamedTuple):
    """What the server said."""

    status: int
    head: bytes
    body: bytes


class Load(NamedTuple):
    """How fast, and how long one takes in milliseconds."""

    per_second: float
    p50: float
    p99: float


class Connection:
    """One connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes) -> Answer:
        """Send a request that was built before, and take its answer."""
        self.writer.write(request)
        await self.writer.drain()
        head = await self.reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        _, found, rest = lower.partition(b"\r\ncontent-length:")
        size = int(rest.partition(b"\r\n")[0]) if found else 0
        if b"\r\ntransfer-encoding:" in lower:
            raise RuntimeError("an answer in chunks is not expected here")
        body = await self.reader.readexactly(size) if size else b""
        return Answer(int(head[9:12]), head, body)

    async def begin(self, part: bytes) -> bool:
        """Send a part of a request; False when the server has had enough."""
        if self.writer.is_closing():
            return False
        try:
            self.writer.write(part)
            await self.writer.drain()
        except OSError:
            return False
        return True

    async def close(self) -> None:
        """Hang up."""
        self.writer.transport.abort()


class Site(NamedTuple):
    """A server, how it is trusted, and what every request to it says."""

    url: str
    trust: ssl.SSLContext
    headers: Mapping[str, str] = {}

    async def connect(self) -> Connection:
        """A new connection."""
        at = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(
            at.hostname, at.port, ssl=self.trust, limit=1024 * 1024
        )
        return Connection(reader, writer)

    def request(
        self, method: str, path: str, body: bytes = b"", content_type: str = JSON_API
    ) -> bytes:
        """The bytes of a request."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(self.url).netloc}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if body or method != "GET":
            lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def once(self, request: bytes) -> Answer:
        """One request on a connection of its own."""
        connection = await self.connect()
        try:
            answer = await connection.ask(request)
        finally:
            await connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{request[:90]!r}: {answer.status} {answer.body[:500]!r}")
        return answer


async def load(site: Site, requests: Sequence[bytes], *, connections: int, count: int) -> Load:
    """Ask for these in turn, again and again, on some connections; each begins with another."""
    opened = [await site.connect() for _ in range(connections)]

    def asking(number: int, connection: Connection) -> Callable[[], Awaitable[None]]:
        turn = itertools.cycle([*requests[number:], *requests[:number]])

        async def ask() -> None:
            request = next(turn)
            answer = await connection.ask(request)
            if answer.status >= 400:
                raise RuntimeError(f"{request[:90]!r}: {answer.status} {answer.body[:500]!r}")

        return ask

    try:
        return await repeated(
            [asking(number % len(requests), one) for number, one in enumerate(opened)], count
        )
    finally:
        for connection in opened:
            await connection.close()


async def repeated(deeds: Sequence[Callable[[], Awaitable[None]]], count: int) -> Load:
    """Do each deed as often as its share of the count is, all of them side by side."""
    times: list[float] = []

    async def again(deed: Callable[[], Awaitable[None]], often: int) -> None:
        for _ in range(often):
            began = time.perf_counter()
            await deed()
            times.append(time.perf_counter() - began)

    for deed in deeds:  # the first of each prepares statements and fills caches
        await deed()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for deed in deeds:
            tasks.create_task(again(deed, max(1, count // len(deeds))))
    return of(times, time.perf_counter() - began)


def of(times: Sequence[float], seconds: float) -> Load:
    """The figures of some durations."""
    return Load(len(times) / seconds, 1e3 * statistics.median(times), 1e3 * quantile(times, 0.99))


def quantile(times: Sequence[float], part: float) -> float:
    """What that part of the durations does not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def median(loads: Sequence[Load]) -> Load:
    """The median of each figure over rounds."""
    return Load(*(statistics.median(figures) for figures in zip(*loads, strict=True)))
