"""Locks and changes of a workspace: from the old one to the new one, or a refusal."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import UNSET
from msgspec.structs import replace

from terrapod_control_plane.kernel.errors import Conflict, Unprocessable
from terrapod_control_plane.workspaces.model import LATEST, Setup, Tag, Workspace

_NAME = re.compile(r"[A-Za-z0-9_-]{1,90}")
_VERSION = re.compile(r"[0-9A-Za-z.,~<>=!+ -]{1,100}")
_RESOURCE = re.compile(r"([0-9]+(\.[0-9]+)?(m|[kKMGT]i?)?)?")
_TAG = re.compile(r"[^\s,\x00][^,\x00]{0,254}")
_LEAST_MEMORY = 64 * 2**20  # less is a mistake in the unit: terraform alone needs about as much
_SHORTEST_DRIFT = 3600
_TOLD = 20  # names in a message


def valid(setup: Setup) -> None:
    """Refuse a setup that makes no sense."""
    wrong = next((name for name, right in _rules(setup) if not right), None)
    if wrong is not None:
        raise Unprocessable(_TEXTS[wrong], pointer=f"/data/attributes/{wrong}")


_TEXTS = {
    "name": "Name can only include letters, numbers, -, and _, and is at most 90 characters long.",
    "terraform-version": "The version is `latest`, a version or a constraint such as `~> 1.11`.",
    "working-directory": "The working directory lies inside of the configuration.",
    "resource-cpu": "resource-cpu is a number such as `1` or `500m`.",
    "resource-memory": "resource-memory is a size such as `2Gi`, and at least 64Mi.",
    "drift-detection-interval-seconds": "drift-detection-interval-seconds is at least 3600.",
}


def _rules(setup: Setup) -> Iterable[tuple[str, bool]]:
    seconds = setup.drift_detection_interval_seconds
    yield "name", bool(_NAME.fullmatch(setup.name))
    yield "terraform-version", bool(_VERSION.fullmatch(setup.terraform_version or LATEST))
    yield "working-directory", ".." not in setup.working_directory.split("/")
    yield "resource-cpu", bool(_RESOURCE.fullmatch(setup.resource_cpu))
    yield "resource-memory", not setup.resource_memory or setup.memory_bytes >= _LEAST_MEMORY
    yield "drift-detection-interval-seconds", _SHORTEST_DRIFT <= seconds < 2**31


def named_by(workspaces: Sequence[Workspace]) -> str:
    """Why a pool can't be removed that workspaces name."""
    names = sorted(workspace.name for workspace in workspaces)
    told = ", ".join(names[:_TOLD])
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"Workspaces run on the agents of this pool: {told}{more}. Say which pool they move to."


def locked(workspace: Workspace, by: str, reason: str, now: datetime) -> Workspace:
    """The workspace with a person's lock."""
    if workspace.holder is not None:
        raise Conflict(f"The workspace {workspace.name} is locked already, by {workspace.holder}.")
    return replace(workspace, locked_by=by, lock_reason=reason, locked_at=now)


def unlocked(workspace: Workspace, by: str) -> Workspace:
    """The workspace without the lock of this person."""
    if workspace.locked_by not in (None, by):
        raise Conflict(f"The workspace {workspace.name} is locked by User {workspace.locked_by}.")
    return force_unlocked(workspace)


def force_unlocked(workspace: Workspace) -> Workspace:
    """The workspace without any person's lock; what a run holds, only the run lets go."""
    if workspace.locked_by is None and workspace.held_by_run_id is not None:
        raise Conflict(
            f"The workspace {workspace.name} is locked by Run {workspace.held_by_run_id}."
        )
    if workspace.locked_by is None:
        raise Conflict(f"The workspace {workspace.name} is not locked.")
    return replace(workspace, locked_by=None, lock_reason="", locked_at=None)


def may_delete(workspace: Workspace) -> None:
    """Refuse while a run has it: what its apply reaches would be lost."""
    if workspace.held_by_run_id is not None:
        raise Conflict(
            f"The workspace is being processed by the run {workspace.held_by_run_id}: "
            "cancel or discard it first."
        )


def safe_to_delete(workspace: Workspace) -> None:
    """Refuse unless nobody works on it and nothing is managed by it, as far as is known."""
    may_delete(workspace)
    if workspace.locked_by is not None:
        raise Conflict(f"The workspace {workspace.name} is locked.")
    if workspace.hold_run_id is not None:
        raise Conflict(f"The workspace {workspace.name} is on hold: {workspace.hold_reason}.")
    if workspace.resource_count > 0:
        raise Conflict(f"The workspace is still managing resources: {workspace.resource_count}.")


def tagged(workspace: Workspace, tags: Iterable[Tag]) -> Workspace:
    """The workspace with these tags beside its others; a key has one value, the last."""
    new = {tag.key: tag.value for tag in tags}
    if wrong := [key for key in new if not _TAG.fullmatch(key)]:
        raise Unprocessable(f"{wrong[0]!r} cannot be the name of a tag.")
    return replace(workspace, tag_bindings=workspace.tag_bindings | new)


def untagged(workspace: Workspace, keys: Iterable[str]) -> Workspace:
    """The workspace without these tags."""
    gone = set(keys)
    kept = {key: value for key, value in workspace.tag_bindings.items() if key not in gone}
    return replace(workspace, tag_bindings=kept)


def changed(workspace: Workspace, new: Setup, now: datetime) -> Workspace:
    """The workspace with another setup."""
    valid(new)
    values = {name: getattr(new, name) for name in Setup.__struct_fields__}
    return replace(workspace, **values, updated_at=now)


def differing(old: Workspace, new: Workspace) -> list[str]:
    """The names of the fields in which the two differ."""
    return [
        name
        for name in Workspace.__struct_fields__
        if getattr(old, name, UNSET) != getattr(new, name, UNSET)
    ]
