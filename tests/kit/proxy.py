"""A stretch of network between an agent and its server that can be cut, slowed, or go silent."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit, urlunsplit

from msgspec import Struct

T = TypeVar("T")
Direction = Literal["up", "down"]  # to the server, to the agent
BOTH: tuple[Direction, ...] = ("up", "down")
_BLOCK = 64 * 1024
_UNDER_WAY = 64


class Weather(Struct, frozen=True):
    """What the network is like; all zero is a good one."""

    delay: float = 0.0  # seconds that each piece is under way
    rate: float = 0.0  # bytes a second; 0: as many as come
    silent: tuple[Direction, ...] = ()  # nothing passes that way, and nobody is told
    refused: bool = False  # no new connection


class Proxy:
    """Passes bytes on, in a thread of its own. Silence holds them back, as TCP would."""

    def __init__(self, target: int | str) -> None:
        self.target = target  # a port, or the path of a socket
        self.port = 0
        self._weather = Weather()
        self._changed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        self.port = self._call(self._listen())

    def close(self) -> None:
        """End it and every connection through it."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def weather(self, weather: Weather) -> None:
        """Change what the network is like, for open connections too."""
        self._run(lambda: self._turn(weather))

    def heal(self) -> None:
        """A good network again."""
        self.weather(Weather())

    def cut(self) -> None:
        """Break every connection and let none in until it is healed."""
        self._run(lambda: self._turn(Weather(refused=True)))
        self._run(self._abort)

    def _turn(self, weather: Weather) -> None:
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _run(self, deed: Callable[[], None]) -> None:
        async def run() -> None:
            deed()

        self._call(run())

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        self._server.close()
        self._abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather.refused:
            writer.transport.abort()
            return
        try:
            there, back = await self._open()
        except OSError:
            writer.transport.abort()
            return
        both = {writer, back}
        self._writers |= both
        pumps = [
            asyncio.create_task(self._pump("up", reader, back)),
            asyncio.create_task(self._pump("down", there, writer)),
        ]
        try:
            # TLS knows no half of a connection: with one way the other has ended.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers -= both
            for end in both:
                end.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, str):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection("127.0.0.1", self.target)

    async def _pump(
        self, way: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # Pieces are under way beside each other: a delay makes nothing narrower.
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)
        delivering = asyncio.create_task(self._deliver(way, under_way, writer))
        try:
            with suppress(OSError):
                while data := await reader.read(_BLOCK):
                    await under_way.put((self._loop.time(), data))
            await under_way.put((0.0, b""))
            await delivering
        finally:
            delivering.cancel()

    async def _deliver(
        self,
        way: Direction,
        under_way: "asyncio.Queue[tuple[float, bytes]]",
        writer: asyncio.StreamWriter,
    ) -> None:
        while (piece := await under_way.get())[1]:
            came, data = piece
            while way in self._weather.silent:
                await self._changed.wait()
            weather = self._weather
            if (early := came + weather.delay - self._loop.time()) > 0:
                await asyncio.sleep(early)
            if weather.rate:
                await asyncio.sleep(len(data) / weather.rate)
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                writer.transport.abort()  # which the other way hears
                return
        with suppress(OSError, RuntimeError):
            writer.write_eof()


def before_database(dsn: str) -> Proxy:
    """A stretch of network in front of a database; still to be started."""
    query = parse_qs(urlsplit(dsn).query)
    host, port = query["host"][0], int(query["port"][0])
    return Proxy(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else port)


def by_way_of(proxy: Proxy, dsn: str) -> str:
    """The address of a database behind it."""
    parts = urlsplit(dsn)
    place = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
    return urlunsplit(parts._replace(netloc=place, query="sslmode=disable"))
