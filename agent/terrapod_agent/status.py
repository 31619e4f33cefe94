"""What the daemon is doing, in a file that `terrapod-agent status` reads."""

import time
from pathlib import Path

import anyio
import msgspec
import structlog
from msgspec import Struct

from terrapod_agent.connectivity import Connectivity
from terrapod_agent.loops.renew import Renewal
from terrapod_agent.slots import Slots
from terrapod_common import files

LOCK = "agent.lock"
_FILE = "status.json"
# Written every few seconds; a machine under load may take its time.
_STALE = 30.0

log = structlog.get_logger()


class Busy(Struct, frozen=True):
    """One phase under way."""

    run_id: str
    phase_id: str
    kind: str
    workspace: str
    step: str
    since: float


class Status(Struct, frozen=True, kw_only=True):
    """One look at the daemon; times are seconds since 1970."""

    written_at: float
    name: str
    server: str
    slots: int
    connected: bool
    trouble: str = ""
    last_contact: float | None = None
    certificate_ends: float = 0.0
    draining: bool = False
    paused: bool = False
    takes_none: str = ""  # why no work is taken
    isolation: str = ""  # of runs from this machine
    busy: list[Busy] = []
    damaged: list[str] = []  # folders of phases that can't be handed in

    @property
    def stale(self) -> bool:
        """Whether the daemon has not been able to say anything for a while."""
        return time.time() - self.written_at > _STALE


async def report(
    data_dir: Path,
    slots: Slots,
    connectivity: Connectivity,
    renewal: Renewal,
    isolation: str,
    every: float,
) -> None:
    """Write the file now and then, and when something has changed."""
    while True:
        changed = slots.changed.next_event()
        status = msgspec.structs.replace(_look(slots, connectivity, renewal), isolation=isolation)
        try:
            files.write_atomically(data_dir / _FILE, msgspec.json.encode(status))
        except OSError as error:  # its age tells that it is not to be believed
            log.warning("the status can't be written", reason=str(error))
        with anyio.move_on_after(every):
            await changed.wait()


def read(data_dir: Path) -> Status | None:
    """What the daemon of this data directory last said; nothing when none is running."""
    if not files.is_locked(data_dir / LOCK):
        return None
    try:
        return msgspec.json.decode((data_dir / _FILE).read_bytes(), type=Status)
    except FileNotFoundError:
        return None


def _look(slots: Slots, connectivity: Connectivity, renewal: Renewal) -> Status:
    identity = renewal.identity
    return Status(
        written_at=time.time(),
        name=identity.name,
        server=identity.agent_url,
        slots=slots.count,
        connected=connectivity.connected,
        trouble=connectivity.problem,
        last_contact=connectivity.last_answer,
        certificate_ends=identity.expires().timestamp(),
        draining=slots.draining,
        paused=slots.paused,
        takes_none=slots.blocked_by,
        damaged=slots.damaged,
        busy=[
            Busy(
                active.run_id,
                active.phase_id,
                active.kind,
                active.workspace,
                active.step,
                active.since,
            )
            for active in slots.active_phases
        ],
    )
