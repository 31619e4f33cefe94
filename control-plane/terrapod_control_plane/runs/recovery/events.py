"""What happened to the control plane as a whole."""

from typing import ClassVar

from terrapod_control_plane.kernel.outbox import Event


class RecoveryEnded(Event, frozen=True, kw_only=True):
    """A person has let the server go on after a restore."""

    kind: ClassVar[str] = "recovery.ended"
    epoch: int
    ended_runs: int
    held_workspaces: int
