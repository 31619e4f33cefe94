"""What happened to states."""

from typing import ClassVar

from terrapod_control_plane.kernel.outbox import Event


class _OfState(Event, frozen=True, kw_only=True):
    state_version: str
    workspace: str

    @property
    def subject(self) -> str:
        """The version."""
        return self.state_version


class StateAnnounced(_OfState, frozen=True, kw_only=True):
    """Somebody is about to upload a state."""

    kind: ClassVar[str] = "state.announced"
    serial: int


class StateFinalized(_OfState, frozen=True, kw_only=True):
    """A state is the current one of its workspace."""

    kind: ClassVar[str] = "state.finalized"
    serial: int
    run: str | None = None


class StateRecovered(_OfState, frozen=True, kw_only=True):
    """A state reached us after its run had ended; a person decides what becomes of it."""

    kind: ClassVar[str] = "state.recovered"
    serial: int
    run: str


class StateDiscarded(_OfState, frozen=True, kw_only=True):
    """The content of a version never came."""

    kind: ClassVar[str] = "state.discarded"
