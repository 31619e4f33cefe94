"""Makes the folder in which terraform finds configuration, variables, backend and state."""

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

import anyio
import msgspec

from terrapod_agent.errors import OperationFailed
from terrapod_agent.executors.process import wait_for_survivor
from terrapod_agent.work import variables
from terrapod_agent.work.phase_folder import PhaseFolder, Ticket
from terrapod_common import files, wire
from terrapod_common.overrides import OVERRIDE, rivals_override

LOCK_FILE = ".terraform.lock.hcl"
DATA_FOLDER = ".terraform"
ERRORED_STATE = "errored.tfstate"  # what terraform writes when it can't write to its backend
_CONTENT = b'terraform {\n  backend "local" {}\n}\n'
_LINEAGE_NAMESPACE = uuid.UUID("9d9f46b4-3c37-4a87-9b8e-5a3c7a1f0c52")
_SURVIVOR_SECONDS = 60.0
_TEMPORARY = 80


async def acquire_run_folder(folder: PhaseFolder, look_every: float) -> None:
    """Take the run's folder, once nothing of an earlier phase works in it any more."""
    run_folder = folder.run_folder
    before = run_folder.other_owner
    if before is not None:
        with anyio.move_on_after(_SURVIVOR_SECONDS):
            await wait_for_survivor(before / "lock", before / "exit.main", look_every)
        if files.is_locked(before / "lock"):
            raise OperationFailed(f"a program of an earlier phase still works in {run_folder.path}")
    await anyio.to_thread.run_sync(run_folder.acquire)
    for path in (folder.tree, folder.home, folder.temporary, folder.states):
        path.mkdir(mode=0o700)


def working_folder(folder: PhaseFolder, ticket: Ticket) -> Path:
    """The folder of the root module, which must lie inside of the configuration."""
    tree, root = folder.tree.resolve(), folder.root(ticket).resolve()
    if not root.is_relative_to(tree):
        raise OperationFailed(
            f"the working directory {ticket.working_directory!r} leaves the configuration"
        )
    if not root.is_dir():
        raise OperationFailed(f"the configuration has no folder {ticket.working_directory!r}")
    return root


def write_run_files(folder: PhaseFolder, root: Path, given: Iterable[wire.RunVariable]) -> None:
    """Add our one file to the root module, and put beside the tree what else a run needs."""
    check_names(root)
    if (root / OVERRIDE).is_symlink() or (root / OVERRIDE).exists():
        raise OperationFailed(
            f"the configuration has a file {OVERRIDE}, a name that is Terrapod's own"
        )
    files.write_new(root / OVERRIDE, _CONTENT)
    files.write_new(folder.values, variables.tfvars(given).encode())
    # Of an archive: the backend of somebody's working copy is not ours.
    for name in ("terraform.tfstate", "environment"):
        stray = root / DATA_FOLDER / name
        if stray.is_symlink() or stray.is_file():
            stray.unlink()


def check_names(root: Path) -> None:
    """Raise :class:`OperationFailed` where our override would not have the last word."""
    for name in [path.name for path in root.iterdir()]:
        if name != OVERRIDE and rivals_override(name):
            raise OperationFailed(
                f"the configuration has a file {name!r}, which sorts after {OVERRIDE} and could"
                " change where the state is kept; call it something that sorts before"
            )


def fixed_environment(folder: PhaseFolder, workspace: str) -> Mapping[str, str]:
    """What the agent sets, whatever a workspace wants."""
    temporary = str(folder.temporary)
    return {
        "HOME": str(folder.home),
        # Providers have their sockets there, and the path of one has at most 107 bytes.
        **({"TMPDIR": temporary} if len(temporary) <= _TEMPORARY else {}),
        "TF_WORKSPACE": workspace,
        "TF_CLI_CONFIG_FILE": str(folder.cli_config),
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
    }


def make_state_location(folder: PhaseFolder, ticket: Ticket) -> Path:
    """Where the state has to be put; the folder is there afterwards."""
    # With its folder in place the workspace exists for terraform, also without a state. With the
    # local backend init looks for it in any case: without it, it notes another one in the tree.
    state = folder.state(ticket)
    for path in (state, folder.state_in_file(ticket)):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return state


def empty_state(work: wire.Work) -> bytes | None:
    """A state without anything in it, for the first run of a workspace.

    terraform removes an empty file at its end, so that "nothing was written" and "nothing could
    be written" would look alike. This one is left as it is, or there is a reason. OpenTofu gets
    none, for it may be told to take encrypted states alone.
    """
    if work.tool.name != "terraform":
        return None
    return msgspec.json.encode(
        {
            "version": 4,
            "terraform_version": work.tool.version,
            "serial": 0,
            # The same for plan and apply, which compares it.
            "lineage": str(uuid.uuid5(_LINEAGE_NAMESPACE, work.run_id)),
            "outputs": {},
            "resources": [],
        }
    )


def sha256_or_empty(path: Path) -> str:
    """The sha256 of a regular file, or nothing."""
    content = files.read_regular(path)
    return "" if content is None else hashlib.sha256(content).hexdigest()
