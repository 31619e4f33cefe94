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

from terrapod_agent.background import in_background
from terrapod_agent.client import Client
from terrapod_agent.error_capture import capture_error
from terrapod_agent.errors import FenceLost, printable
from terrapod_agent.retry import retry
from terrapod_agent.slots import Notifier
from terrapod_agent.work import printed_state
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_agent.work.prepare import ERRORED_STATE
from terrapod_common import agent_protocol, files
from terrapod_common.loops import Backoff

log = structlog.get_logger()
_SERVER_SECONDS = 15.0


class _State(Struct):
    serial: int
    lineage: str
    version: int | None = None
    encryption_version: str | None = None  # OpenTofu, when it encrypts


class FinalState(Struct, frozen=True):
    """The newest state of an apply, and why it may not be the last one."""

    content: bytes | None  # nothing when it is the one that the apply began with
    doubt: str = ""


def read_whole_state(path: Path, limit: int, below: Path) -> bytes | None:
    """The state at ``path`` if it parses; terraform rewrites it in place, so it may not.

    Between ``below`` and it the run may have put anything, and it may have any size.
    """
    content = files.read_regular(path, limit, below)
    return content if content is not None and is_state(content) else None


def is_state(content: bytes) -> bool:
    """Whether this is a state, and all of it."""
    try:
        state = msgspec.json.decode(content, type=_State)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return state.version is not None or state.encryption_version is not None


def final_state(folder: PhaseFolder, ticket: Ticket) -> FinalState:
    """What an apply that has ended left of its state. To be asked in a worker.

    That of an apply that failed counts as the last one only where terraform wrote it to its end.
    Whatever the run has left there, and whatever the disk refuses, there is an answer.
    """
    with capture_error() as tried:
        return _final_state(folder, ticket)
    said = "the state of an apply cannot be looked at"
    log.error(said, phase=ticket.phase_id, exc_info=tried.error)
    return FinalState(None, printable(f"it could not be looked at: {tried.error}"))


def _final_state(folder: PhaseFolder, ticket: Ticket) -> FinalState:
    if ticket.snapshots:
        _wait_for(folder.snapshots / "lock")
    written = written_state(folder, ticket)
    ended_well = ticket.outcome is not None and ticket.outcome.status == "applied"
    content, doubt = written, ""
    if written is None:
        kept = read_whole_state(folder.whole_state, ticket.state_limit, folder.path)
        content, doubt = (
            kept,
            _why_missing(folder.state(ticket), ticket.state_limit, _state_parent(folder, ticket)),
        )
    if not ended_well:
        found, broken = _errored_state(folder, ticket)
        content = found or content
        doubt = broken if found is None and broken else doubt if found is None else ""
    same = content is not None and _digest(content) == ticket.state_before
    if same and ended_well and ticket.must_differ:
        doubt = doubt or "it is the one that the apply began with"
    return FinalState(None if same else content, doubt)


def written_state(folder: PhaseFolder, ticket: Ticket) -> bytes | None:
    """The state that terraform has written by now, where it is whole."""
    return read_whole_state(folder.state(ticket), ticket.state_limit, _state_parent(folder, ticket))


def _state_parent(folder: PhaseFolder, ticket: Ticket) -> Path:
    return folder.snapshots if ticket.snapshots else folder.run_folder.path


def _wait_for(lock: Path) -> None:
    """Wait until the state server has written what it still got from terraform."""
    until = time.monotonic() + _SERVER_SECONDS
    while files.is_locked(lock) and time.monotonic() < until:
        time.sleep(0.05)  # in a worker; a lock tells nobody


def _why_missing(path: Path, limit: int, below: Path) -> str:
    if path.parent.is_dir() and not files.without_links(path.parent, below):
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


def _errored_state(folder: PhaseFolder, ticket: Ticket) -> tuple[bytes | None, str]:
    """The state that terraform left where it could not write to its backend."""
    content, doubt = _errored_state_file(folder, ticket)
    if content is not None:
        return content, ""
    printed = printed_state.last_printed_state(files.read_tail(folder.log, ticket.tail))
    if printed is not None and is_state(printed):
        return printed, ""
    return None, doubt


def _errored_state_file(folder: PhaseFolder, ticket: Ticket) -> tuple[bytes | None, str]:
    try:
        # The working directory may be a link of the configuration, but must not lead out.
        path = folder.root(ticket).resolve() / ERRORED_STATE
        there = path.is_symlink() or path.exists()
    except (OSError, RuntimeError) as error:  # closed, or links that lead in a circle
        return None, printable(f"nobody can see whether there is an {ERRORED_STATE}: {error}")
    if not path.is_relative_to(folder.run_folder.path.resolve()):
        return None, printable(
            f"its folder leads out of {folder.run_folder.path}, where {ERRORED_STATE} may be"
        )
    content = (
        files.read_regular(path, ticket.state_limit, folder.run_folder.path) if there else None
    )
    if not there or (content is not None and _digest(content) == ticket.dump_before):
        return None, ""
    if content is not None and is_state(content):
        return content, ""
    return None, f"{ERRORED_STATE} is there and is not whole"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class StateWatcher:
    """Brings intermediate states home: the newest, one at a time, not more often than allowed.

    What fails here is told once and tried again; it is never in the way of the apply.
    """

    def __init__(
        self, client: Client, folder: PhaseFolder, ticket: Ticket, backoff: Backoff
    ) -> None:
        self._client = client
        self._folder = folder
        self._ticket = ticket
        self._backoff = backoff
        self._path = folder.state(ticket)
        self._pending: bytes | None = None
        self._found = Notifier()
        self._told = False

    async def watch(self, look_every: float, send_every: float) -> None:
        """Go on until cancelled; once the phase is no longer ours, only keep states aside."""
        async with in_background(partial(self._send, send_every)):
            await self._look(look_every)

    async def _look(self, every: float) -> None:
        seen = before = _mtime(self._path)
        while True:
            await anyio.sleep(every)
            changed = _mtime(self._path)
            if changed in (seen, before):
                continue
            content = None
            with capture_error() as tried:
                content = await anyio.to_thread.run_sync(self._kept)
            if tried.error is not None and not self._told:
                said = "a state cannot be kept aside; this is tried again"
                log.warning(said, phase=self._ticket.phase_id, reason=repr(tried.error))
            self._told = tried.error is not None
            if content is not None:
                seen, self._pending = changed, content
                self._found.notify()

    def _kept(self) -> bytes | None:
        """The state as it is, kept aside: a kill in the middle of a write leaves half a file."""
        content = written_state(self._folder, self._ticket)
        if content is not None and not self._ticket.snapshots:  # these are replaced whole
            files.write_atomically(self._folder.whole_state, content)
        return content

    async def _send(self, every: float) -> None:
        while True:
            found = self._found.next_event()
            if self._pending is None:
                await found.wait()
                continue
            content, self._pending, began = self._pending, None, time.monotonic()
            with capture_error() as tried:
                await self._put(content)
            if isinstance(tried.error, FenceLost):
                return
            if tried.error is not None:  # the last state is what counts
                log.warning("an intermediate state was not taken", reason=str(tried.error))
            await anyio.sleep(max(0.0, began + every - time.monotonic()))

    async def _put(self, content: bytes) -> None:
        put = partial(
            self._client.upload,
            agent_protocol.STATE_PUT,
            content,
            phase_id=self._ticket.phase_id,
            fence=self._ticket.fence,
            final="false",
        )
        await retry(put, self._backoff)


def _mtime(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0
