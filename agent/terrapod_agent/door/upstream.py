"""The server as a door reaches it: under the phase's fence, with patience, a few at a time."""

import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from terrapod_agent.client import Client
from terrapod_agent.door.connection import Connection
from terrapod_agent.door.responses import RequestRefused, Response
from terrapod_agent.errors import RequestDenied
from terrapod_agent.retry import retry
from terrapod_common import agent_protocol, wire
from terrapod_common.agent_protocol import Call
from terrapod_common.loops import Backoff

T = TypeVar("T")
_AT_ONCE = 4
_PATIENCE = 60.0  # with a server that restarts


class Upstream:
    """What a phase may ask of the server."""

    def __init__(
        self,
        client: Client,
        backoff: Backoff,
        work: wire.Work,
        download: str,
        patience: float = _PATIENCE,
    ) -> None:
        self._client = client
        self._backoff = backoff
        self._patience = patience
        self._held: dict[str, str | float] = {"phase_id": work.phase_id, "fence": work.fence}
        self._at_once = anyio.CapacityLimiter(_AT_ONCE)
        self.organization = work.organization
        self.downloads = f"door-{download}"  # the first part of every path that needs no password

    async def workspace(self, **sought: str) -> wire.SharedWorkspace:
        """A workspace that shares its state, by ``name`` or by ``id``."""

        async def ask(scope: anyio.CancelScope) -> wire.SharedWorkspace:
            call = agent_protocol.SHARED_WORKSPACE
            return await self._client.call(call, None, **self._held, **sought)

        return await self._with_retries(ask)

    async def forward(
        self, call: Call[None, bytes], connection: Connection, answer: Response, **named: str
    ) -> None:
        """Answer with what the server sends, as it comes."""

        async def ask(scope: anyio.CancelScope) -> None:
            if connection.response_started:
                raise ConnectionAbortedError("the server broke off in the middle of an answer")
            async with self._client.stream(call, **self._held, **named) as chunks:
                scope.deadline = math.inf  # how long it takes from here is the client's matter
                await connection.stream(answer, chunks)

        await self._with_retries(ask)

    async def _with_retries(self, ask: Callable[[anyio.CancelScope], Awaitable[T]]) -> T:
        async with self._at_once:
            try:
                with anyio.move_on_after(self._patience) as scope:
                    return await retry(lambda: ask(scope), self._backoff)
            except RequestDenied as denied:
                raise RequestRefused(denied.status, denied.detail or str(denied)) from denied
        raise RequestRefused(503, "The server of this run does not answer; try again later.")
