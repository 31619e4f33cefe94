"""What happened to the control plane as a whole."""

from datetime import datetime
from typing import ClassVar

from terrapod_control_plane.kernel.outbox import Event


class RecoveryEnded(Event, frozen=True, kw_only=True):
    """A person has let the server go on after a restore."""

    kind: ClassVar[str] = "recovery.ended"
    epoch: int
    ended_runs: int
    held_workspaces: int


class Restored(Event, frozen=True, kw_only=True):
    """This database was made from a backup."""

    kind: ClassVar[str] = "recovery.restored"
    epoch: int
    made_at: datetime
