"""Makes the folder in which terraform finds configuration, variables, backend and state."""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from terrapod_agent.trouble import Failed
from terrapod_agent.work.folder import STATE_HOME, Folder, Ticket
from terrapod_agent.work.variables import tfvars
from terrapod_common import files, wire

LOCK_FILE = ".terraform.lock.hcl"
_OVERRIDES = ("override.tf", "override.tf.json", "override.tofu", "override.tofu.json")
_TFVARS = (".auto.tfvars", ".auto.tfvars.json")
EMERGENCY = "errored.tfstate"  # what terraform writes when it can't write to its backend
OVERRIDE = "terrapod_override.tf.json"
VALUES = "terrapod.auto.tfvars"


def working_folder(folder: Folder, ticket: Ticket) -> Path:
    """The folder of the root module, which must lie inside of the configuration."""
    tree, root = folder.tree.resolve(), folder.root(ticket).resolve()
    if not root.is_relative_to(tree):
        raise Failed(f"the working directory {ticket.working_directory!r} leaves the configuration")
    if not root.is_dir():
        raise Failed(f"the configuration has no folder {ticket.working_directory!r}")
    return root


def lay_out(root: Path, variables: Iterable[wire.Variable]) -> None:
    """Add our files to the root module; their names sort last, so that they win."""
    # A repository's own would be taken for the state that a failing apply leaves.
    (root / EMERGENCY).unlink(missing_ok=True)
    names = [path.name for path in root.iterdir()]
    override = last_name(OVERRIDE, [name for name in names if name.endswith(_OVERRIDES)])
    backend = {
        "path": f"{STATE_HOME}/terraform.tfstate",
        "workspace_dir": f"{STATE_HOME}/workspaces",
    }
    document = {"terraform": {"backend": {"local": backend}}}
    files.replace(root / override, msgspec.json.encode(document))
    if values := tfvars(variables):
        name = last_name(VALUES, [name for name in names if name.endswith(_TFVARS)])
        files.replace(root / name, values.encode())


def last_name(name: str, others: Iterable[str]) -> str:
    """A name that ends in ``name`` and sorts after all ``others``, byte by byte."""
    newest = max(map(os.fsencode, others), default=b"")
    # Beyond `~` only letters outside of ASCII sort; nothing sorts after this one.
    lead = "~" if newest[:1] <= b"~" else "\U0010fffd"
    candidate = lead + name
    while os.fsencode(candidate) <= newest:
        candidate = lead + candidate
    return candidate


def fixed_environment(folder: Folder, workspace: str) -> Mapping[str, str]:
    """What the agent sets, whatever a workspace wants."""
    return {
        "HOME": str(folder.home),
        "TF_WORKSPACE": workspace,
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
    }


def place_state(folder: Folder, ticket: Ticket) -> Path:
    """Where the state has to be put; the folder is there afterwards."""
    # A configuration, or what a plan has made, could bring a state of its own.
    brought = folder.root(ticket) / STATE_HOME
    if brought.is_symlink() or brought.is_file():
        brought.unlink()
    elif brought.exists():
        shutil.rmtree(brought)
    # With its folder in place the workspace exists for terraform, also without a state.
    state = folder.state(ticket)
    state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return state
