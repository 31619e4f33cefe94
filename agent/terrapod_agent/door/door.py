"""Opens the door of a phase and keeps it for as long as the phase lasts."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import cast

import anyio
import structlog
from anyio.abc import SocketAttribute, SocketListener, SocketStream
from msgspec import Struct

from terrapod_agent.background import in_background
from terrapod_agent.door import outputs
from terrapod_agent.door.connection import ClientGone, Connection, Request, Timeouts
from terrapod_agent.door.credentials import DoorCredentials, is_door_password, matches
from terrapod_agent.door.hosts import hosts_for_terraform
from terrapod_agent.door.public_proxy import PublicAddress, PublicProxy
from terrapod_agent.door.rate_limit import RateLimiter
from terrapod_agent.door.responses import RequestRefused
from terrapod_agent.door.routes import PREFIX, Route, match
from terrapod_agent.door.upstream import Upstream
from terrapod_agent.errors import OperationFailed
from terrapod_agent.executors.peers import peer_allowed
from terrapod_agent.work.cli_config import Host
from terrapod_common.loops import each

log = structlog.get_logger()

ROUTES: tuple[Route, ...] = (*outputs.ROUTES,)
DOWNLOADS: tuple[Route, ...] = (*outputs.DOWNLOADS,)
_LONGEST = 900.0  # one exchange, in seconds
_AGAIN = 0.5
_STRANGER = 0.9  # of a connection in the rate: a look at whose it is costs little


class DoorLimits(Struct, frozen=True, kw_only=True):
    """What a run may ask of its agent by way of the door."""

    connections: int = 32
    burst: int = 200  # connections that are taken at once
    per_second: float = 100.0  # and after that
    times: Timeouts = Timeouts()


class Door:
    """Listens on loopback for the run of one phase."""

    def __init__(
        self, keys: DoorCredentials, target: "DoorTarget", public: PublicProxy, limits: DoorLimits
    ) -> None:
        self._keys = keys
        self._upstream = target.upstream
        self._guest = target.client_uid
        self._public = public
        self._times = limits.times
        self._budget = RateLimiter(limits.burst, limits.per_second)
        self._places = anyio.Semaphore(limits.connections)

    async def serve(self, listener: SocketListener) -> None:
        """Answer for as long as it is not cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                # Whoever finds no slot waits in the kernel, and costs nothing here.
                await self._places.acquire()
                await self._budget.acquire()
                try:
                    stream = await listener.accept()
                except OSError as error:  # no file to be had, or a client that left at once
                    log.warning("the door of a run takes nobody just now", reason=str(error))
                    self._places.release()
                    await anyio.sleep(_AGAIN)
                else:
                    tasks.start_soon(each, [stream], self._one)

    async def _one(self, stream: SocketStream) -> None:
        try:
            async with stream:
                socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - of anyio
                if not peer_allowed(socket, self._guest()):
                    self._budget.refund(_STRANGER)
                    return
                # Else the second part of an answer waits until the first is acknowledged.
                socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
                with anyio.move_on_after(_LONGEST):
                    await self._exchange(Connection(stream, self._times))
        except (ClientGone, OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            log.debug("a connection of a run has ended", reason=repr(error))  # too slow, or gone
        finally:
            self._places.release()

    async def _exchange(self, connection: Connection) -> None:
        try:
            request = await connection.read_request()
            await connection.skip_body()
            await self._answer(request, connection)
        except RequestRefused as refused:
            if not connection.response_started:
                await connection.send(refused.response())

    async def _answer(self, request: Request, connection: Connection) -> None:
        path = request.target.partition("?")[0]
        token, _, rest = path.removeprefix(f"{PREFIX}/door-").partition("/")
        if path.startswith(f"{PREFIX}/door-") and matches(token, self._keys.download):
            found = match(DOWNLOADS, f"{PREFIX}/{rest}")
        elif matches(request.bearer, self._keys.password):
            found = match(ROUTES, path)
        elif request.bearer and not is_door_password(request.bearer):
            await self._public.forward(request, connection)
            return
        else:
            raise RequestRefused(401, "This is the door of a run, and needs its password.")
        if request.method != "GET":
            raise RequestRefused(
                403, "A run reads the state of other workspaces; it can't change them."
            )
        await found.handler(self._upstream, connection, found.named)


class DoorTarget(Struct, frozen=True):
    """Where the servers of a phase's doors are, and who may go there."""

    upstream: Upstream
    public: PublicAddress
    hosts: Iterable[str]
    client_uid: Callable[[], int | None] = lambda: None  # a user id; nothing while anybody may come


@asynccontextmanager
async def open_door(
    target: DoorTarget, keys: DoorCredentials, limits: DoorLimits | None = None
) -> AsyncIterator[list[Host]]:
    """A door; what terraform has to know of it. It is shut when the block ends."""
    try:
        multi = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    except OSError as error:
        raise OperationFailed(f"no port could be opened on loopback: {error}") from error
    listener = cast("SocketListener", multi.listeners[0])
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - of anyio, not of Django
    here = f"http://127.0.0.1:{port}"
    names = [*target.hosts, target.public.host]
    public = PublicProxy(target.public)
    public.serve_at(here, names)
    door = Door(keys, target, public, limits or DoorLimits())
    async with listener:
        try:
            async with in_background(partial(door.serve, listener)):
                yield hosts_for_terraform(names, here + PREFIX, keys.password)
        finally:
            with anyio.CancelScope(shield=True):
                await public.close()
