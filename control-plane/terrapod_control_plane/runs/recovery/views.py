"""The recovery as a document."""

import msgspec

from terrapod_control_plane.runs.recovery.model import Recovery
from terrapod_control_plane.runs.recovery.schema import FindingDoc, RecoveryDoc


def document(found: Recovery) -> RecoveryDoc:
    """Whether the server is paused, and what was found."""
    return RecoveryDoc(
        id="recovery",
        epoch=found.epoch,
        paused=found.paused_at is not None,
        paused_at=found.paused_at,
        reason=found.reason,
        findings=[msgspec.convert(one, FindingDoc, from_attributes=True) for one in found.findings],
        ended_runs=found.ended_runs,
        held_workspaces=found.held_workspaces,
    )
