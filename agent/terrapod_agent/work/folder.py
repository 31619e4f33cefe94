"""The folder of one phase: all that an agent needs to pick it up again after a crash."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from terrapod_common import files, wire

# The state lies beside the configuration, under a name that no repository has.
STATE_HOME = ".terrapod-state"


class Ticket(Struct, frozen=True, kw_only=True):
    """What must not be forgotten about a phase; the outcome is in it once there is one."""

    run_id: str
    phase_id: str
    kind: wire.PhaseKind
    fence: int
    workspace: str
    working_directory: str
    log_limit: int
    secrets: list[bytes] = []  # to be masked in the log
    state_before: str = ""  # sha256 of the state that the phase began with
    tool_version: str = ""
    started: bool = False  # the server confirmed that terraform may run
    outcome: wire.Report | None = None
    state_stored: bool = False  # the last state is on the server
    reported: bool = False


class Folder:
    """Names in the folder of one phase."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = path / "tree"  # the configuration
        self.home = path / "home"
        self.cli_config = self.home / ".terraformrc"
        self.log = path / "log"  # unmasked; terraform and the agent append to it
        self.init_log = path / "init.log"
        self.lock = path / "lock"
        self.plan = path / "plan.tfplan"
        self.plan_json = path / "plan.json"
        self.archive = path / "configuration.tar.gz"
        self.created = path / "created.tar.gz"
        self.good_state = path / "state.whole"  # the newest state that was seen whole

    def exit(self, step: str) -> Path:
        """Where the keeper of a step says how it ended."""
        return self.path / f"exit.{step}"

    def root(self, ticket: Ticket) -> Path:
        """Where terraform is started."""
        return self.tree / ticket.working_directory.strip("/")

    def state(self, ticket: Ticket) -> Path:
        """Where terraform's local backend keeps the state of the workspace."""
        home = self.root(ticket) / STATE_HOME
        if ticket.workspace == "default":
            return home / "terraform.tfstate"
        return home / "workspaces" / ticket.workspace / "terraform.tfstate"

    def keep(self, ticket: Ticket) -> None:
        """Write the ticket so that it survives a crash."""
        files.replace(self.path / "ticket.json", msgspec.json.encode(ticket))

    def ticket(self) -> Ticket | None:
        """The ticket, or nothing when the phase never got that far."""
        try:
            return msgspec.json.decode((self.path / "ticket.json").read_bytes(), type=Ticket)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def say(self, text: str) -> None:
        """Append a line of the agent's own to the log."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{text}\n".encode())
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Forget the phase."""
        shutil.rmtree(self.path, ignore_errors=True)


def create(phases: Path, work: wire.Work) -> Folder:
    """A fresh folder for a claimed phase."""
    files.private(phases)
    folder = Folder(phases / f"{work.phase_id}.{work.fence}")
    folder.remove()
    for path in (folder.path, folder.tree, folder.home):
        path.mkdir(mode=0o700)
    return folder


def leftovers(phases: Path) -> Iterator[Folder]:
    """The folders that are there, oldest first."""
    if phases.is_dir():
        found = [path for path in phases.iterdir() if path.is_dir()]
        yield from map(Folder, sorted(found, key=lambda path: path.stat().st_mtime))
