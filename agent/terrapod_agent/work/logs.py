"""Brings the log of a phase to the server, masked, without losing or doubling a byte.

The unmasked log is one file to which terraform itself appends. What the server gets is made from
it anew whenever needed: masking depends on the bytes alone, so after a crash of either side the
same bytes have the same offsets.
"""

import os
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from terrapod_agent.client import Client
from terrapod_agent.errors import OperationFailed
from terrapod_agent.retry import retry
from terrapod_agent.work.printed_state import PrintedStateFilter
from terrapod_agent.work.redact import Redactor
from terrapod_agent.work.secret_search import SecretIndex
from terrapod_common import agent_protocol, files, wire
from terrapod_common.loops import Backoff

CHUNK = 64 * 1024
_BLOCKS = 16  # read at once
_TAILS = 4  # kept where a file can't have holes
_HIDDEN = 512 * 1024 * 1024  # bytes beyond the limit that are read: states are not shown
LogCall = agent_protocol.Call[bytes, wire.LogAnswer]


class MaskedLog:
    """Reads the growing log of a phase as the server shall see it."""

    def __init__(
        self,
        path: Path,
        secrets: list[bytes],
        limit: int,
        hidden: int = _HIDDEN,
        *,
        tail: int = 0,  # so many bytes of the end are kept whatever the limit is
    ) -> None:
        self._path = path
        self._tail = tail
        self._dropped = 0
        self._secrets = secrets
        self._prepared: SecretIndex | None = None
        self._limit = limit
        self._most = limit + hidden
        self.offset = 0  # of the first byte that was not yet dropped
        self._rewind()

    def peek(self, *, final: bool = False) -> bytes:
        """The next bytes, at most a chunk; ``final`` says that no more will be written."""
        blocks = 0
        while len(self._ready) < CHUNK and not self._full:
            if blocks == _BLOCKS and not final:
                break  # nearly all of it is masked or held back; who waits may want to stop
            blocks += 1
            block = self._read()
            if block:
                self._take(self._masking.feed(self._dumps.feed(block)))
            else:
                if final:
                    self._take(self._masking.feed(self._dumps.finish()))
                    self._take(self._masking.finish())
                break
        if self._full or self._position == self._most:
            self._shorten()
        return bytes(self._ready[:CHUNK])

    def advance_to(self, offset: int) -> None:
        """Drop what lies before ``offset``, or go back there."""
        if offset < self.offset:
            self._rewind()
        while offset > self.offset:
            # Its end is looked for only where what is known does not reach: that lets go of what
            # may yet become a secret.
            step = min(offset - self.offset, len(self._ready) or len(self.peek(final=True)))
            if not step:
                raise OperationFailed(
                    f"the server has more of the log ({offset} bytes) than was written"
                )
            del self._ready[:step]
            self.offset += step

    def _rewind(self) -> None:
        self._redactor: Redactor | None = None  # made where it is used, in a worker
        self._dumps = PrintedStateFilter()
        self._position = 0  # in the unmasked file
        self._ready = bytearray()
        self._made = 0
        self._full = False
        self.offset = 0

    @property
    def _masking(self) -> Redactor:
        if self._prepared is None:
            self._prepared = SecretIndex(self._secrets)
        if self._redactor is None:
            self._redactor = Redactor(self._prepared)
        return self._redactor

    def _read(self) -> bytes:
        try:
            with files.open_regular(self._path) as file:
                file.seek(self._position)
                block = file.read(min(CHUNK, self._most - self._position))
        except FileNotFoundError:
            return b""
        self._position += len(block)
        return block

    def _take(self, masked: bytes) -> None:
        room = self._limit - self._made
        self._made += len(masked)
        if self._made > self._limit:
            self._full = True
            masked = masked[: max(0, room)]
            masked += (
                f"\nThe log ends here: it reached its limit of {self._limit} bytes.\n".encode()
            )
        self._ready += masked

    def _shorten(self) -> None:
        # What terraform appends beyond the limit must not fill the disk.
        size, start = self._path.stat().st_size, self._position + CHUNK
        if not self._tail:
            if size > start:
                os.truncate(self._path, self._position)
            return
        # At the end of an apply stands what must not be lost, such as a state that was printed.
        end = size - self._tail
        if end < max(start, self._dropped) + CHUNK:
            return
        self._dropped = end
        if not files.punch_hole(self._path, start, end) and size > start + _TAILS * self._tail:
            os.truncate(self._path, self._position)


class LogSender:
    """Sends the log of one phase while it grows."""

    def __init__(
        self, client: Client, log: MaskedLog, phase_id: str, fence: int, call: LogCall
    ) -> None:
        self._client = client
        self._call = call
        self._log = log
        self._phase_id = phase_id
        self._fence = fence
        self.there: int | None = None  # the size that the server last told

    async def follow(self, backoff: Backoff, every: float) -> None:
        """Send what comes, until cancelled."""
        while True:
            await self._send_all(backoff, final=False)
            await anyio.sleep(every)

    async def finish(self, backoff: Backoff) -> int:
        """Send the rest; the size of the whole log, on which server and agent agree."""
        # An empty chunk asks where the server is; it may have lost what it once had.
        there = await self._put(b"", backoff)
        try:
            await to_thread.run_sync(self._log.advance_to, there)
        except OperationFailed:
            return there  # a power cut took from our disk what the server already had
        await self._send_all(backoff, final=True)
        return self._log.offset

    async def _send_all(self, backoff: Backoff, *, final: bool) -> None:
        # Masking takes its time, and other phases have to go on meanwhile.
        peek = partial(self._log.peek, final=final)
        while chunk := await to_thread.run_sync(peek):
            sent_from = self._log.offset
            await to_thread.run_sync(self._log.advance_to, await self._put(chunk, backoff))
            if self._log.offset == sent_from:
                return  # it took nothing, and would take nothing again

    async def _put(self, chunk: bytes, backoff: Backoff) -> int:
        put = partial(
            self._client.upload,
            self._call,
            chunk,
            phase_id=self._phase_id,
            fence=self._fence,
            offset=self._log.offset,
        )
        answer: wire.LogAnswer = await retry(put, backoff)
        self.there = answer.offset
        return answer.offset
