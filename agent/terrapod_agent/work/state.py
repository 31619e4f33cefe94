"""Brings the state to the server while an apply writes it, and once more at its end."""

import hashlib
import time
from functools import partial
from pathlib import Path

import anyio
import msgspec
import structlog
from msgspec import Struct

from terrapod_agent.client import Client
from terrapod_agent.contact import insist
from terrapod_agent.trouble import Denied, FenceLost
from terrapod_agent.work.folder import Folder, Ticket
from terrapod_agent.work.prepare import EMERGENCY
from terrapod_common import files, protocol
from terrapod_common.loops import Backoff

log = structlog.get_logger()


class _State(Struct):
    serial: int
    lineage: str
    version: int | None = None
    encryption_version: str | None = None  # OpenTofu, when it encrypts


def whole(path: Path) -> bytes | None:
    """The state at ``path`` if it parses; terraform rewrites it in place, so it may not."""
    try:
        content = path.read_bytes()
        state = msgspec.json.decode(content, type=_State)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    known = state.version is not None or state.encryption_version is not None
    return content if known else None


def newest(folder: Folder, ticket: Ticket) -> bytes | None:
    """The last state that an apply reached, or nothing when it is the one it began with."""
    for path in (folder.root(ticket) / EMERGENCY, folder.state(ticket), folder.good_state):
        content = whole(path)
        if content is not None:
            same = hashlib.sha256(content).hexdigest() == ticket.state_before
            return None if same else content
    return None


def torn(folder: Folder, ticket: Ticket) -> bool:
    """Whether terraform was cut off in the middle of writing a state.

    Then what :func:`newest` finds is not the last one, so nobody may take it for that.
    """
    path = folder.state(ticket)
    if whole(folder.root(ticket) / EMERGENCY) is not None or whole(path) is not None:
        return False
    # An empty file says something only where there was a state before.
    return path.exists() and bool(path.stat().st_size or ticket.state_before)


class Watcher:
    """Uploads intermediate states: the newest, one at a time, not more often than allowed."""

    def __init__(self, client: Client, folder: Folder, ticket: Ticket, backoff: Backoff) -> None:
        self._client = client
        self._folder = folder
        self._ticket = ticket
        self._backoff = backoff

    async def watch(self, look_every: float, send_every: float) -> None:
        """Go on until cancelled; once the phase is no longer ours, only keep states aside."""
        path, seen, sent_at = self._folder.state(self._ticket), 0, -send_every
        pending: bytes | None = None
        before = path.stat().st_mtime_ns if path.exists() else 0
        while True:
            await anyio.sleep(look_every)
            changed = path.stat().st_mtime_ns if path.exists() else 0
            if changed not in (seen, before) and (content := await _read(path)):
                # Kept aside: a kill in the middle of a write leaves half a file.
                await anyio.to_thread.run_sync(files.replace, self._folder.good_state, content)
                seen, pending = changed, content
            if pending and time.monotonic() - sent_at >= send_every:
                sent_at = time.monotonic()
                try:
                    await self._put(pending)
                except FenceLost:
                    send_every = float("inf")  # go on keeping the newest aside
                except Denied as denied:  # the last state is what counts
                    log.warning("an intermediate state was refused", reason=str(denied))
                pending = None

    async def _put(self, content: bytes) -> None:
        put = partial(
            self._client.send,
            protocol.STATE_PUT,
            content,
            phase_id=self._ticket.phase_id,
            fence=self._ticket.fence,
            final="false",
        )
        await insist(put, self._backoff)


async def _read(path: Path) -> bytes | None:
    return await anyio.to_thread.run_sync(whole, path)
