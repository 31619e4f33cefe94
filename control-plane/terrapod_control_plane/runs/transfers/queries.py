"""SQL of artifacts."""

from terrapod_control_plane.kernel import db
from terrapod_control_plane.runs.model import Phase


async def set_artifacts(phase: Phase) -> None:
    """Write the artifacts of a phase."""
    await db.execute(
        "update phases set artifacts = $2::jsonb where id = $1",
        phase.id,
        db.encode(phase.artifacts),
    )
