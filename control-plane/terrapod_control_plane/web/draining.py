"""Whether a peer takes what it is sent, with what waits in the kernel: else slow ones look dead."""

import asyncio
import fcntl
import socket
import struct
import termios

from terrapod_control_plane.web.limits import Limits


def reset(transport: asyncio.Transport) -> None:
    """Ends a connection at once, with nothing left to send in the kernel either."""
    connection = transport.get_extra_info("socket")
    try:
        handle = socket.socket(fileno=connection.fileno())
    except (OSError, ValueError, AttributeError):
        pass  # it has ended
    else:
        try:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            handle.detach()  # it stays the transport's
    transport.abort()


class Draining:
    """Looks at a peer that does not take what it is sent."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, limits: Limits
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._left = self._taken = self._looks = 0
        self._stood_still = False

    def start(self) -> None:
        """It has stopped taking."""
        self._taken, self._looks, self._stood_still = 0, 0, False
        self._wait()

    def stop(self) -> None:
        """It takes again, or is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self.stop()
        self._left = self._unsent()
        self._timer = self._loop.call_later(self._limits.stall, self._look)

    def _look(self) -> None:
        taken = self._left - self._unsent()
        self._taken += taken
        # The first look is free: a large window opens again only when much of it has been read.
        late = self._taken < self._looks * self._limits.stall * self._limits.slowest
        stands_still = taken <= 0
        if late or (stands_still and self._stood_still):
            reset(self._transport)
            return
        self._looks += 1
        self._stood_still = stands_still
        self._wait()

    def _unsent(self) -> int:
        """What the peer has not acknowledged, in our buffers and in the kernel's."""
        waiting = self._transport.get_write_buffer_size()
        connection = self._transport.get_extra_info("socket")
        try:
            answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        except (OSError, ValueError):
            return waiting  # not every system tells; then only what we see counts
        return waiting + int(struct.unpack("i", answer)[0])
