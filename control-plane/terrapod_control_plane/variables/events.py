"""What happened to variables; their values are never told."""

from typing import ClassVar

from terrapod_control_plane.kernel.outbox import Event


class _OfVariable(Event, frozen=True, kw_only=True):
    variable: str
    workspace: str
    key: str

    @property
    def subject(self) -> str:
        """The variable."""
        return self.variable


class VariableCreated(_OfVariable, frozen=True, kw_only=True):
    """A variable exists."""

    kind: ClassVar[str] = "variable.created"


class VariableUpdated(_OfVariable, frozen=True, kw_only=True):
    """A variable has another value, name or kind."""

    kind: ClassVar[str] = "variable.updated"


class VariableDeleted(_OfVariable, frozen=True, kw_only=True):
    """A variable is gone."""

    kind: ClassVar[str] = "variable.deleted"
