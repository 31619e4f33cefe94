"""Takes connections in: handshakes with a time limit, a cap, and who gives way when it is full.

A place that is full never keeps newcomers out by being held idle: whoever has waited longest
without a request under way makes room. Only where all are at work a newcomer is refused.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol, cast

import anyio
import anyio.lowlevel
import structlog

from terrapod_control_plane.web.limits import Limits, place_of

if TYPE_CHECKING:
    import ssl

log = structlog.get_logger()

Standing = Literal["stranger", "idle", "busy"]

# There are no files or no memory for one more; the connection waits in the kernel's queue.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE = 0.1
# No TLS, an unknown certificate, too slow, or gone; the others when it leaves in a bad moment.
_NO_HANDSHAKE = (OSError, EOFError, RuntimeError, ValueError)
# How often a full port is worth a line in the log.
_TELL_EVERY = 60.0
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class Guest(Protocol):
    """The protocol of a connection, which tells its seat what it does."""

    seat: Seat | None


class Seat:
    """The place of one connection, from its acceptance to its end."""

    def __init__(self, acceptor: Acceptor, address: str) -> None:
        self.place = place_of(address)
        self.leave: Callable[[], object] = lambda: None  # ends the connection at once
        self._acceptor = acceptor

    def stands(self, standing: Standing) -> None:
        """What the connection does from now on; who begins to be idle is last in line."""
        self._acceptor.move(self, standing)

    def gone(self) -> None:
        """The connection has ended."""
        self._acceptor.forget(self)


class Acceptor:
    """Accepts on one socket."""

    def __init__(
        self, limits: Limits, context: ssl.SSLContext | None, protocol: Callable[[], Guest]
    ) -> None:
        self._limits = limits
        self._context = context
        self._protocol = protocol
        # Each in the order in which its members came to stand there.
        self._seats: dict[Standing, dict[Seat, None]] = {"stranger": {}, "idle": {}, "busy": {}}
        self._standing: dict[Seat, Standing] = {}
        self._of_place: Counter[object] = Counter()
        self._told = -_TELL_EVERY
        self._scope = anyio.CancelScope()

    @property
    def taken(self) -> int:
        """How many connections there are, those in their handshake too."""
        return len(self._standing)

    async def run(self, listening: socket.socket) -> None:
        """Accepts until it is closed."""
        loop = asyncio.get_running_loop()
        with self._scope:
            async with anyio.create_task_group() as welcomes:
                while True:
                    try:
                        accepted, address = await loop.sock_accept(listening)
                    except OSError as error:
                        await self._failed(error)
                        continue
                    seat = Seat(self, address[0] if isinstance(address, tuple) else "")
                    if self._make_room(seat):
                        self._add(seat)
                        welcomes.start_soon(self._welcome, accepted, seat)
                    else:
                        accepted.close()

    def close(self) -> None:
        """Accepts no more; what was accepted goes on, unfinished handshakes end."""
        self._scope.cancel()

    async def wait_closed(self) -> None:
        """Nothing is left to wait for; uvicorn asks its servers."""

    def move(self, seat: Seat, standing: Standing) -> None:
        """The seat stands there now."""
        before = self._standing.get(seat)
        if before is not None:
            del self._seats[before][seat]
            self._seats[standing][seat] = None
            self._standing[seat] = standing

    def forget(self, seat: Seat) -> None:
        """The seat is free."""
        if (standing := self._standing.pop(seat, None)) is not None:
            del self._seats[standing][seat]
            self._of_place[seat.place] -= 1
            if self._of_place[seat.place] <= 0:
                del self._of_place[seat.place]

    def _add(self, seat: Seat) -> None:
        # People show nothing at the door, so there an unfinished handshake is one that waits.
        standing: Standing = "stranger" if self._limits.of_agents else "idle"
        self._standing[seat] = standing
        self._seats[standing][seat] = None
        self._of_place[seat.place] += 1

    def _make_room(self, seat: Seat) -> bool:
        limits = self._limits
        if limits.per_address and self._of_place[seat.place] >= limits.per_address:
            shared = seat.place is None or any(seat.place in proxy for proxy in limits.proxies)
            if not shared and not self._send_away("one address has all that one may have", seat):
                return False
        return self.taken < limits.connections or self._send_away("all connections are taken")

    def _send_away(self, why: str, like: Seat | None = None) -> bool:
        """Ends the connection that has waited longest; False when all are at work."""
        waiting = (*self._seats["stranger"], *self._seats["idle"])
        leaver = next((s for s in waiting if like is None or s.place == like.place), None)
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY:
            self._told = now
            port = "agents" if self._limits.of_agents else "public"
            log.warning(why, port=port, connections=self.taken, made_room=leaver is not None)
        if leaver is None:
            return False
        self.forget(leaver)
        leaver.leave()
        return True

    async def _failed(self, error: OSError) -> None:
        if error.errno in _EXHAUSTED:
            self._send_away(f"no connection can be taken: {error.strerror}")
            await anyio.sleep(_PAUSE)
        elif error.errno == errno.EBADF:
            self._scope.cancel()  # the socket was closed under us: the server ends
            await anyio.lowlevel.checkpoint()
        # Else the one who came has left already.

    async def _welcome(self, accepted: socket.socket, seat: Seat) -> None:
        loop = asyncio.get_running_loop()
        guest = self._protocol()
        guest.seat = seat
        over_tls = self._context is not None
        try:
            _notice_the_dead(accepted)
            with anyio.CancelScope() as scope:
                seat.leave = scope.cancel
                await loop.connect_accepted_socket(
                    lambda: cast("asyncio.Protocol", guest),
                    accepted,
                    ssl=self._context,
                    ssl_handshake_timeout=self._limits.handshake if over_tls else None,
                    ssl_shutdown_timeout=self._limits.stall if over_tls else None,
                )
                return
            accepted.close()
            seat.gone()
        except _NO_HANDSHAKE:
            accepted.close()
            seat.gone()
        except BaseException:
            accepted.close()
            seat.gone()
            raise


def _notice_the_dead(accepted: socket.socket) -> None:
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            accepted.setsockopt(socket.IPPROTO_TCP, option, value)
