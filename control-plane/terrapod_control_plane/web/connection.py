"""One HTTP connection: what it may send before anybody looks at it, and how long it may take.

uvicorn parses; here is what it leaves open. Heads of requests are counted while they arrive. One
timer runs while the peer has to do something, another while it has to take what we send. What a
refused request still sends is thrown away for a moment, so that the answer is read, and no longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from terrapod_control_plane.kernel import jsonapi
from terrapod_control_plane.kernel.jsonapi import Problem
from terrapod_control_plane.web.acceptor import Seat
from terrapod_control_plane.web.draining import Draining, reset
from terrapod_control_plane.web.limits import Limits

# How long a peer that has got its whole answer may take to agree to the end of a connection.
_GOODBYE = 0.5
# What is still taken of a body that nobody wants: enough for clients that send before they read.
_LINGER_SECONDS = 5.0
_LINGER_BYTES = 16 * 1024 * 1024
# Requests that wait behind one under way on the same connection.
_PIPELINED_AT_MOST = 16


class _RefusedError(Exception):
    """Raised in the middle of parsing, and wrapped by the parser."""


class LimitedProtocol(HttpToolsProtocol):
    """A connection with limits, and with the peer's certificate in the scope of its requests."""

    limits = Limits()
    seat: Seat | None = None
    _certificate: bytes | None = None
    _running: RequestResponseCycle | None = None
    _refusal = HTTPStatus.BAD_REQUEST

    _timer: asyncio.TimerHandle | None = None
    _writing: Draining | None = None
    _idle = False  # nothing has come since the last answer
    _receiving = False  # the present request has not come whole
    _lingering = False  # it has been answered already
    _unused = 0  # bytes that came since the last that were of use: an endless head or trailer
    _head = 0  # bytes of the present request's URL and headers
    _body = 0  # bytes of its body, or of what is thrown away of it
    _looked_at = 0  # how many there were when the body was looked at
    _began = 0.0  # when the body began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Reads the certificate once a connection, after the handshake."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._certificate = tls.getpeercert(binary_form=True) if tls else None
        self._writing = Draining(self.loop, transport, self.limits)
        if self.seat is not None:
            self.seat.leave = lambda: reset(transport)
            self.seat.stands("idle")
        self._wait(self.limits.head, self._abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of everything that would keep the connection in memory."""
        self._wait_no_more()
        # uvicorn does so only for connections that end in order.
        self._unset_keepalive_if_required()
        if self._writing is not None:
            self._writing.stop()
        if self.seat is not None:
            self.seat.gone()
        # Nor does it tell those who wait in line, or the one before them.
        waiting = [cycle for cycle, _ in self.pipeline]
        self.pipeline.clear()
        for cycle in filter(None, [self._running, *waiting]):
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    # --- what comes -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, and looks at what that came to."""
        if self.transport.is_closing():
            return
        if self._idle:
            self._idle = False
            self._wait_no_more()
        self._unused += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing else is spoken here, and nothing after this request will be understood.
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._refuse()
            return
        if self._unused > self.limits.head_bytes:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self._refuse()
            return
        self._expect()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head, self._receiving = 0, True
        if self._certificate is not None:
            scope = cast("dict[str, Any]", self.scope)
            # The names are those that uvicorn is about to use.
            scope["extensions"] = {"tls": {"client_cert": self._certificate}}

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what comes behind a body is none that anybody may rely on."""
        if "method" not in self.scope:
            self._head += len(name) + len(value) + len(b": \r\n")
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request is handed to the application, unless it is too much."""
        self._unused = 0
        if self._head > self.limits.head_bytes:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise _RefusedError
        if len(self.pipeline) >= _PIPELINED_AT_MOST:
            self._refusal = HTTPStatus.TOO_MANY_REQUESTS
            raise _RefusedError
        self._wait_no_more()
        self._lingering = False
        self._body = self._looked_at = 0
        self._began = self.loop.time()
        if self.seat is not None:
            self.seat.stands("busy")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._unused = 0
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has come whole."""
        self._unused = 0
        self._receiving = False
        super().on_message_complete()
        if self._lingering:
            self._lingering = False
            self._rest()

    # --- what goes --------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Waits for the next request, or for the end of one that was refused before its body."""
        super().on_response_complete()
        self._unset_keepalive_if_required()
        if self._at_work() or self.transport.is_closing():
            return
        if self.seat is not None:
            self.seat.stands("idle")
        if self._receiving:
            self._lingering, self._body = True, 0
            self._wait(_LINGER_SECONDS, self._abort)
        else:
            self._rest()

    def pause_writing(self) -> None:
        """The peer takes less than we send."""
        super().pause_writing()
        if self._writing is not None:
            self._writing.start()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.stop()

    def shutdown(self) -> None:
        """Closes when idle; a peer that does not answer the goodbye is left soon after."""
        super().shutdown()
        if not self._at_work():
            self.loop.call_later(_GOODBYE, self._leave)

    # --- time -------------------------------------------------------------------------------------

    def _expect(self) -> None:
        """Something came: what has to come next, and by when."""
        if self._lingering:
            if self._body > _LINGER_BYTES:
                self.flow.pause_reading()  # the timer ends it
        elif not self._at_work():
            if self._timer is None:
                # Also for empty lines, which begin no request.
                self._wait(self.limits.head, self._abort)
        elif not self._receiving:
            self._wait_no_more()
        elif self._timer is None:
            self._wait(self.limits.stall, self._look_at_body)

    def _look_at_body(self) -> None:
        self._timer = None
        if not (self._at_work() and self._receiving):
            return
        spent = self.loop.time() - self._began
        late = self._body < (spent - self.limits.stall) * self.limits.slowest
        stands_still = self._body == self._looked_at
        self._looked_at = self._body
        # Where we do not read, or have not asked for it yet, it is not the peer who is slow.
        ours = self.flow.read_paused or self.cycle.waiting_for_100_continue
        if (late or stands_still) and not ours:
            self._abort()
        else:
            self._wait(self.limits.stall, self._look_at_body)

    def _rest(self) -> None:
        self._idle = True
        self._wait(self.limits.idle, self._end_rest)

    def _end_rest(self) -> None:
        self._timer = None
        if self.flow.write_paused:  # it still reads; whether it does is looked at elsewhere
            self._rest()
        else:
            self.transport.close()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._wait_no_more()
        self._timer = self.loop.call_later(seconds, then)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _at_work(self) -> bool:
        # Annotated as always there, but None until the first request.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _abort(self) -> None:
        self._timer = None
        reset(self.transport)

    def _leave(self) -> None:
        if self in self.connections and self.transport.get_write_buffer_size() == 0:
            self.transport.abort()

    def _refuse(self) -> None:
        """Answers what is no request, unless another answer is on its way, and closes."""
        self._wait_no_more()
        if not self._at_work():
            status = self._refusal
            problem = Problem(str(status.value), status.phrase.lower())
            body = msgspec.json.encode(jsonapi.dump_errors([problem]))
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()
        self._wait(_LINGER_SECONDS, self._abort)
