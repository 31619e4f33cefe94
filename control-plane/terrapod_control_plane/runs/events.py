"""What happened to runs."""

from typing import ClassVar

from terrapod_control_plane.kernel.outbox import Event


class RunChanged(Event, frozen=True, kw_only=True):
    """A run was made or is in another status."""

    kind: ClassVar[str] = "run.changed"
    run: str
    workspace: str
    status: str
    reason: str = ""
    pool: str | None = None  # that has something to claim now
    listener: str | None = None  # that has an order now

    @property
    def subject(self) -> str:
        """The run."""
        return self.run

    @property
    def topics(self) -> tuple[str, ...]:
        """Agents of the pool, the agent with the order."""
        pool = (f"pool:{self.pool}",) if self.pool else ()
        orders = (f"orders:{self.listener}",) if self.listener else ()
        return (*pool, *orders)


class HoldSet(Event, frozen=True, kw_only=True):
    """An apply of unknown end put its workspace on hold, or more is known of it now."""

    kind: ClassVar[str] = "workspace.hold-set"
    workspace: str
    run: str
    reason: str
    late: bool = False  # told by an agent that had been given up

    @property
    def subject(self) -> str:
        """The workspace."""
        return self.workspace


class HoldEnded(Event, frozen=True, kw_only=True):
    """A person let applies of a workspace go on."""

    kind: ClassVar[str] = "workspace.hold-ended"
    workspace: str
    run: str
    how: str  # adopted or cleared

    @property
    def subject(self) -> str:
        """The workspace."""
        return self.workspace
