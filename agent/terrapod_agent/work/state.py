"""Which state an apply has reached, and its way to the server while the apply writes it."""

import hashlib
import stat
import time
from functools import partial
from pathlib import Path

import anyio
import msgspec
import structlog
from msgspec import Struct

from terrapod_agent.attempt import attempt
from terrapod_agent.beside import beside
from terrapod_agent.client import Client
from terrapod_agent.contact import insist
from terrapod_agent.executors.process import held
from terrapod_agent.slots import Signal
from terrapod_agent.trouble import FenceLost, plain
from terrapod_agent.work import dump
from terrapod_agent.work.folder import Folder, Ticket
from terrapod_agent.work.prepare import DUMP
from terrapod_common import files, protocol
from terrapod_common.loops import Backoff

log = structlog.get_logger()
_SERVER_SECONDS = 15.0


class _State(Struct):
    serial: int
    lineage: str
    version: int | None = None
    encryption_version: str | None = None  # OpenTofu, when it encrypts


class Reached(Struct, frozen=True):
    """The newest state of an apply, and why it may not be the last one."""

    content: bytes | None  # nothing when it is the one that the apply began with
    doubt: str = ""


def whole(path: Path, limit: int, below: Path) -> bytes | None:
    """The state at ``path`` if it parses; terraform rewrites it in place, so it may not.

    Between ``below`` and it the run may have put anything, and it may have any size.
    """
    content = files.content(path, limit, below)
    return content if content is not None and parses(content) else None


def parses(content: bytes) -> bool:
    """Whether this is a state, and all of it."""
    try:
        state = msgspec.json.decode(content, type=_State)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return state.version is not None or state.encryption_version is not None


def reached(folder: Folder, ticket: Ticket) -> Reached:
    """What an apply that has ended left of its state. To be asked in a worker.

    That of an apply that failed counts as the last one only where terraform wrote it to its end.
    Whatever the run has left there, and whatever the disk refuses, there is an answer.
    """
    with attempt() as tried:
        return _reached(folder, ticket)
    said = "the state of an apply cannot be looked at"
    log.error(said, phase=ticket.phase_id, exc_info=tried.error)
    return Reached(None, plain(f"it could not be looked at: {tried.error}"))


def _reached(folder: Folder, ticket: Ticket) -> Reached:
    if ticket.snapshots:
        _wait_for(folder.snapshots / "lock")
    written = written_by(folder, ticket)
    ended_well = ticket.outcome is not None and ticket.outcome.status == "applied"
    content, doubt = written, ""
    if written is None:
        kept = whole(folder.good_state, ticket.state_limit, folder.path)
        content, doubt = (
            kept,
            _missing(folder.state(ticket), ticket.state_limit, _below(folder, ticket)),
        )
    if not ended_well:
        found, broken = _emergency(folder, ticket)
        content = found or content
        doubt = broken if found is None and broken else doubt if found is None else ""
    same = content is not None and _digest(content) == ticket.state_before
    if same and ended_well and ticket.must_differ:
        doubt = doubt or "it is the one that the apply began with"
    return Reached(None if same else content, doubt)


def written_by(folder: Folder, ticket: Ticket) -> bytes | None:
    """The state that terraform has written by now, where it is whole."""
    return whole(folder.state(ticket), ticket.state_limit, _below(folder, ticket))


def _below(folder: Folder, ticket: Ticket) -> Path:
    return folder.snapshots if ticket.snapshots else folder.place.path


def _wait_for(lock: Path) -> None:
    """Wait until the state server has written what it still got from terraform."""
    until = time.monotonic() + _SERVER_SECONDS
    while held(lock) and time.monotonic() < until:
        time.sleep(0.05)  # in a worker; a lock tells nobody


def _missing(path: Path, limit: int, below: Path) -> str:
    if path.parent.is_dir() and not files.plain(path.parent, below):
        return "something else is in the place of its folder"
    try:
        status = path.lstat()
    except OSError:
        return "it is not where it has to be"
    size = status.st_size
    if size > limit:
        return f"it has {size} bytes, more than the {limit} that are taken"
    if not stat.S_ISREG(status.st_mode):
        return "something else is in its place"
    return "terraform was cut off in writing it" if size else "terraform could not write it"


def _emergency(folder: Folder, ticket: Ticket) -> tuple[bytes | None, str]:
    """The state that terraform left where it could not write to its backend."""
    content, doubt = _dumped(folder, ticket)
    if content is not None:
        return content, ""
    printed = dump.last(files.tail(folder.log, ticket.tail))
    if printed is not None and parses(printed):
        return printed, ""
    return None, doubt


def _dumped(folder: Folder, ticket: Ticket) -> tuple[bytes | None, str]:
    try:
        # The working directory may be a link of the configuration, but must not lead out.
        path = folder.root(ticket).resolve() / DUMP
        there = path.is_symlink() or path.exists()
    except (OSError, RuntimeError) as error:  # closed, or links that lead in a circle
        return None, plain(f"nobody can see whether there is an {DUMP}: {error}")
    if not path.is_relative_to(folder.place.path.resolve()):
        return None, plain(f"its folder leads out of {folder.place.path}, where {DUMP} may be")
    content = files.content(path, ticket.state_limit, folder.place.path) if there else None
    if not there or (content is not None and _digest(content) == ticket.dump_before):
        return None, ""
    if content is not None and parses(content):
        return content, ""
    return None, f"{DUMP} is there and is not whole"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Watcher:
    """Brings intermediate states home: the newest, one at a time, not more often than allowed.

    What fails here is told once and tried again; it is never in the way of the apply.
    """

    def __init__(self, client: Client, folder: Folder, ticket: Ticket, backoff: Backoff) -> None:
        self._client = client
        self._folder = folder
        self._ticket = ticket
        self._backoff = backoff
        self._path = folder.state(ticket)
        self._pending: bytes | None = None
        self._found = Signal()
        self._told = False

    async def watch(self, look_every: float, send_every: float) -> None:
        """Go on until cancelled; once the phase is no longer ours, only keep states aside."""
        async with beside(partial(self._send, send_every)):
            await self._look(look_every)

    async def _look(self, every: float) -> None:
        seen = before = _changed(self._path)
        while True:
            await anyio.sleep(every)
            changed = _changed(self._path)
            if changed in (seen, before):
                continue
            content = None
            with attempt() as tried:
                content = await anyio.to_thread.run_sync(self._kept)
            if tried.error is not None and not self._told:
                said = "a state cannot be kept aside; this is tried again"
                log.warning(said, phase=self._ticket.phase_id, reason=repr(tried.error))
            self._told = tried.error is not None
            if content is not None:
                seen, self._pending = changed, content
                self._found.give()

    def _kept(self) -> bytes | None:
        """The state as it is, kept aside: a kill in the middle of a write leaves half a file."""
        content = written_by(self._folder, self._ticket)
        if content is not None and not self._ticket.snapshots:  # these are replaced whole
            files.replace(self._folder.good_state, content)
        return content

    async def _send(self, every: float) -> None:
        while True:
            found = self._found.next()
            if self._pending is None:
                await found.wait()
                continue
            content, self._pending, began = self._pending, None, time.monotonic()
            with attempt() as tried:
                await self._put(content)
            if isinstance(tried.error, FenceLost):
                return
            if tried.error is not None:  # the last state is what counts
                log.warning("an intermediate state was not taken", reason=str(tried.error))
            await anyio.sleep(max(0.0, began + every - time.monotonic()))

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


def _changed(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0
