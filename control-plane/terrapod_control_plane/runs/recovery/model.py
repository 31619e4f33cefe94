"""What is known while the server is paused, and what its end has changed."""

from datetime import datetime

from msgspec import Struct


class Finding(Struct, frozen=True, kw_only=True):
    """An apply that this database knows nothing of."""

    phase_id: str
    workspace_id: str
    workspace_name: str
    run_id: str
    fence: int
    told_by: str
    at: datetime


class Recovery(Struct, frozen=True, kw_only=True):
    """Whether the server is paused, why, and what it has found."""

    epoch: int
    paused_at: datetime | None
    reason: str
    findings: list[Finding] = []
    ended_runs: list[str] = []  # by the resume that this answers
    held_workspaces: list[str] = []  # names


class OpenRun(Struct, frozen=True, kw_only=True):
    """A run that was open when the database was left behind."""

    id: str
    workspace_id: str
