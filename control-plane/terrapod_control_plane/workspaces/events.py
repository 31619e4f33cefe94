"""What happened to workspaces."""

from typing import ClassVar

from terrapod_control_plane.kernel import caches
from terrapod_control_plane.kernel.outbox import Event


class _OfWorkspace(Event, frozen=True, kw_only=True):
    workspace: str
    name: str

    @property
    def subject(self) -> str:
        """The workspace."""
        return self.workspace


class _ChangesScope(_OfWorkspace, frozen=True, kw_only=True):
    @property
    def changes(self) -> tuple[str, ...]:
        """Whose it is and what it is called."""
        return (caches.workspace(self.workspace),)


class WorkspaceCreated(_OfWorkspace, frozen=True, kw_only=True):
    """A workspace exists."""

    kind: ClassVar[str] = "workspace.created"
    owner: str


class WorkspaceUpdated(_ChangesScope, frozen=True, kw_only=True):
    """A workspace was set up otherwise."""

    kind: ClassVar[str] = "workspace.updated"
    changed: list[str]


class WorkspaceDeleted(_ChangesScope, frozen=True, kw_only=True):
    """A workspace is gone, and its runs, states and variables with it."""

    kind: ClassVar[str] = "workspace.deleted"


class WorkspaceLocked(_OfWorkspace, frozen=True, kw_only=True):
    """A person keeps the workspace for themselves."""

    kind: ClassVar[str] = "workspace.locked"
    by: str
    reason: str


class WorkspaceUnlocked(_OfWorkspace, frozen=True, kw_only=True):
    """A person's lock is gone."""

    kind: ClassVar[str] = "workspace.unlocked"
    was_locked_by: str
    forced: bool
