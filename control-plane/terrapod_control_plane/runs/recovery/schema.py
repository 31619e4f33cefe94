"""JSON:API shape of the recovery."""

from datetime import datetime

from msgspec import Struct

from terrapod_control_plane.kernel.jsonapi import Resource


class FindingDoc(Struct, frozen=True, kw_only=True, rename="kebab"):
    """An apply that this database knows nothing of."""

    workspace_id: str
    workspace_name: str
    run_id: str
    phase_id: str
    told_by: str
    at: datetime


class RecoveryDoc(Resource, tag="recoveries", kw_only=True):
    """Whether the server is paused after a restore, and what it has found."""

    epoch: int
    paused: bool
    paused_at: datetime | None
    reason: str
    findings: list[FindingDoc] = []
    ended_runs: list[str] = []
    held_workspaces: list[str] = []
