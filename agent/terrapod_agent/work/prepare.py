"""Makes the place in which terraform finds configuration, variables, backend and state."""

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

import anyio
import msgspec

from terrapod_agent.executors.process import held, survivor_gone
from terrapod_agent.trouble import Failed
from terrapod_agent.work import variables
from terrapod_agent.work.folder import Folder, Ticket
from terrapod_common import files, wire
from terrapod_common.overrides import OVERRIDE, rivals

LOCK_FILE = ".terraform.lock.hcl"
DATA = ".terraform"
DUMP = "errored.tfstate"  # what terraform writes when it can't write to its backend
_CONTENT = b'terraform {\n  backend "local" {}\n}\n'
_SEED_OF = uuid.UUID("9d9f46b4-3c37-4a87-9b8e-5a3c7a1f0c52")
_SURVIVOR_SECONDS = 60.0
_TEMPORARY = 80


async def take_place(folder: Folder, look_every: float) -> None:
    """Take the run's place, once nothing of an earlier phase works in it any more."""
    place = folder.place
    before = place.other
    if before is not None:
        with anyio.move_on_after(_SURVIVOR_SECONDS):
            await survivor_gone(before / "lock", before / "exit.main", look_every)
        if held(before / "lock"):
            raise Failed(f"a program of an earlier phase still works in {place.path}")
    await anyio.to_thread.run_sync(place.take)
    for path in (folder.tree, folder.home, folder.temporary, folder.states):
        path.mkdir(mode=0o700)


def working_folder(folder: Folder, ticket: Ticket) -> Path:
    """The folder of the root module, which must lie inside of the configuration."""
    tree, root = folder.tree.resolve(), folder.root(ticket).resolve()
    if not root.is_relative_to(tree):
        raise Failed(f"the working directory {ticket.working_directory!r} leaves the configuration")
    if not root.is_dir():
        raise Failed(f"the configuration has no folder {ticket.working_directory!r}")
    return root


def lay_out(folder: Folder, root: Path, given: Iterable[wire.Variable]) -> None:
    """Add our one file to the root module, and put beside the tree what else a run needs."""
    check_names(root)
    if (root / OVERRIDE).is_symlink() or (root / OVERRIDE).exists():
        raise Failed(f"the configuration has a file {OVERRIDE}, a name that is Terrapod's own")
    files.new(root / OVERRIDE, _CONTENT)
    files.new(folder.values, variables.tfvars(given).encode())
    # Of an archive: the backend of somebody's working copy is not ours.
    for name in ("terraform.tfstate", "environment"):
        stray = root / DATA / name
        if stray.is_symlink() or stray.is_file():
            stray.unlink()


def check_names(root: Path) -> None:
    """Raise :class:`Failed` where our override would not be the last word on the backend."""
    for name in [path.name for path in root.iterdir()]:
        if name != OVERRIDE and rivals(name):
            raise Failed(
                f"the configuration has a file {name!r}, which sorts after {OVERRIDE} and could"
                " change where the state is kept; call it something that sorts before"
            )


def fixed_environment(folder: Folder, workspace: str) -> Mapping[str, str]:
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


def place_state(folder: Folder, ticket: Ticket) -> Path:
    """Where the state has to be put; the folder is there afterwards."""
    # With its folder in place the workspace exists for terraform, also without a state. With the
    # local backend init looks for it in any case: without it, it notes another one in the tree.
    state = folder.state(ticket)
    for path in (state, folder.state_in_file(ticket)):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return state


def seed(work: wire.Work) -> bytes | None:
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
            "lineage": str(uuid.uuid5(_SEED_OF, work.run_id)),
            "outputs": {},
            "resources": [],
        }
    )


def digest_of(path: Path) -> str:
    """The sha256 of a regular file, or nothing."""
    content = files.content(path)
    return "" if content is None else hashlib.sha256(content).hexdigest()
