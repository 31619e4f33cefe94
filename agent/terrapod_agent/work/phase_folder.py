"""What a phase keeps on the disk: its own folder, and the run folder, in which its run executes.

Its own folder holds all that an agent needs to pick the phase up again after a crash; a run never
gets there. The run folder is where terraform works.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from terrapod_agent.work.run_folder import RunFolder
from terrapod_common import files, wire

log = structlog.get_logger()
_MORE = 1024 * 1024  # which terraform may say after a state that it has printed


class Ticket(Struct, frozen=True, kw_only=True):
    """What must not be forgotten about a phase; the outcome is in it once there is one."""

    run_id: str
    phase_id: str
    kind: wire.PhaseKind
    fence: int
    workspace: str
    working_directory: str
    log_limit: int
    state_limit: int = 256 * 1024 * 1024
    secrets: list[bytes] = []  # to be masked in the log
    state_before: str = ""  # sha256 of the state that the phase began with
    dump_before: str = ""  # and of an `errored.tfstate` that the configuration brought along
    snapshots: bool = False  # the state of the apply is kept by the state server
    state_password: str = ""  # of that server
    asks: bool = False  # the apply needs the values of the plan again
    must_differ: bool = False  # the plan makes or removes objects, so there is another state after
    tool_version: str = ""
    started: bool = False  # the server confirmed that terraform may run
    refused: bool = False  # the server takes no start: another one has it, or nobody
    begun: bool = True  # terraform may have been started on the plan; older agents did not say
    outcome: wire.Report | None = None
    state_stored: bool = False  # the last state is on the server
    state_trouble: str = ""  # why it is not
    state_sent: bool = False  # there was one, and it was sent
    reported: bool = False
    claim: str = ""  # the server's signature on it

    @property
    def tail(self) -> int:
        """So many bytes of the end of the log may be all that is left of a state."""
        return self.state_limit + _MORE if self.kind == "apply" else 0


def new_ticket(work: wire.Work, *, state_password: str) -> Ticket:
    """The ticket of a phase that was claimed just now."""
    return Ticket(
        run_id=work.run_id,
        phase_id=work.phase_id,
        kind=work.kind,
        fence=work.fence,
        workspace=work.workspace,
        working_directory=work.working_directory,
        log_limit=work.limits.log_bytes,
        state_limit=work.limits.state_bytes,
        state_password=state_password,
        tool_version=work.tool.version,
        claim=work.claim,
        begun=False,
    )


class TicketDamaged(Exception):
    """A ticket is there and can't be read; what is beside it may be the only copy of a state."""


class PhaseFolder:
    """Names in the folder of one phase and in the folder of its run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "log"  # unmasked; terraform and the agent append to it
        self.init_log = path / "init.log"
        self.lock = path / "lock"
        self.plan_json = path / "plan.json"
        self.archive = path / "configuration.tar.gz"
        self.created = path / "created.tar.gz"
        self.state_before = path / "state.before"
        self.whole_state = path / "state.whole"  # the newest state that was seen whole
        self.snapshots = path / "snapshots"  # what the state server keeps
        self.tmp = path / "tmp"  # what a sandbox shows as /tmp, and nowhere else
        self._secrets = path / "secrets.json"  # of the ticket
        self._run_folder = path / "place"  # where the run folder is: its root, and the run

    def __str__(self) -> str:
        return self.path.name

    @property
    def run_folder(self) -> RunFolder:
        """The folder of the run, in which terraform works."""
        root, _, run_id = self._run_folder.read_text().rpartition("/")
        return RunFolder(Path(root), run_id, self.path)

    @property
    def tree(self) -> Path:
        """The configuration."""
        return self.run_folder.path / "tree"

    @property
    def home(self) -> Path:
        """The HOME of the run."""
        return self.run_folder.path / "home"

    @property
    def temporary(self) -> Path:
        """Its TMPDIR."""
        return self.run_folder.path / "tmp"

    @property
    def states(self) -> Path:
        """Where terraform's local backend keeps states."""
        return self.run_folder.path / "state"

    @property
    def plan(self) -> Path:
        """The saved plan."""
        return self.run_folder.path / "plan.tfplan"

    @property
    def plan_in_file(self) -> Path:
        """The plan as it was made, when it was given another backend."""
        return self.run_folder.path / "plan.local.tfplan"

    @property
    def values(self) -> Path:
        """The variables of category ``terraform``."""
        return self.run_folder.path / "variables.tfvars"

    @property
    def cli_config(self) -> Path:
        """The configuration of terraform's command line."""
        return self.run_folder.path / "terraform.rc"

    def exit(self, step: str) -> Path:
        """Where the shim of a step says how it ended."""
        return self.path / f"exit.{step}"

    def root(self, ticket: Ticket) -> Path:
        """Where terraform is started."""
        return self.tree / ticket.working_directory.strip("/")

    def state(self, ticket: Ticket) -> Path:
        """Where the state of the workspace is while terraform works."""
        if ticket.snapshots:
            return self.snapshots / "terraform.tfstate"
        return self.state_in_file(ticket)

    def state_in_file(self, ticket: Ticket) -> Path:
        """Where terraform's local backend has the state of the workspace."""
        if ticket.workspace == "default":
            return self.states / "terraform.tfstate"
        return self.states / "workspaces" / ticket.workspace / "terraform.tfstate"

    def save_ticket(self, ticket: Ticket) -> None:
        """Write the ticket so that it survives a crash."""
        if ticket.secrets and not self._secrets.exists():
            files.write_atomically(self._secrets, msgspec.json.encode(ticket.secrets))
        # They may be large, and do not change.
        small = msgspec.structs.replace(ticket, secrets=[])
        files.write_atomically(self.path / "ticket.json", msgspec.json.encode(small))

    def try_save_ticket(self, ticket: Ticket) -> None:
        """The same, as far as the disk lets us: what is noted is in memory as well."""
        try:
            self.save_ticket(ticket)
        except (OSError, ValueError) as error:
            log.warning("a ticket can't be kept", phase=ticket.phase_id, reason=str(error))

    def load_ticket(self) -> Ticket | None:
        """The ticket, or nothing when there is none yet; it may be :class:`TicketDamaged`."""
        try:
            ticket = msgspec.json.decode((self.path / "ticket.json").read_bytes(), type=Ticket)
            if not self._secrets.exists():
                return ticket
            secrets = msgspec.json.decode(self._secrets.read_bytes(), type=list[bytes])
            return msgspec.structs.replace(ticket, secrets=secrets)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TicketDamaged(f"the ticket in {self.path} is damaged: {error}") from error

    @property
    def held_phase(self) -> wire.HeldPhase | None:
        """Whose folder it is, by its name alone."""
        phase, _, fence = self.path.name.rpartition(".")
        if not phase or not fence.isdecimal():
            return None
        return wire.HeldPhase(phase_id=phase, fence=int(fence))

    def log_line(self, text: str) -> None:
        """Append a line of the agent's own to the log; a full disk only costs the line."""
        try:
            self.append_log(f"{text}\n".encode(errors="replace"))
        except OSError as error:
            log.warning("a line of a log can't be written", line=text, reason=str(error))

    def append_log(self, data: bytes) -> None:
        """Append to the log as it is."""
        # A pipe in its place must not be waited for, nor a link followed.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self.log, flags, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Forget the phase."""
        if self._run_folder.exists():
            self.run_folder.release()
        files.remove_tree(self.path)


def create_phase_folder(phases: Path, runs: Path, work: wire.Work) -> PhaseFolder:
    """A fresh folder for a claimed phase; that of its run is not taken yet."""
    files.private_folder(phases)
    folder = PhaseFolder(phases / f"{work.phase_id}.{work.fence}")
    folder.remove()
    folder.path.mkdir(mode=0o700)
    files.write_atomically(folder.path / "place", str(runs / work.run_id).encode())
    return folder


def existing_folders(phases: Path) -> Iterator[PhaseFolder]:
    """The folders that are there, oldest first."""
    if phases.is_dir():
        found = [path for path in phases.iterdir() if path.is_dir()]
        yield from map(PhaseFolder, sorted(found, key=_age))


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # it was handed in meanwhile
        return 0.0
