"""What is known of applies that the database does not know, for other slices and jobs."""

from collections.abc import Sequence

import structlog

from terrapod_common import wire
from terrapod_common.agent_protocol import Code
from terrapod_control_plane.kernel import db, epochs, markers
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Unavailable
from terrapod_control_plane.kernel.markers import Claim
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.model import Phase, Run
from terrapod_control_plane.runs.recovery import queries
from terrapod_control_plane.runs.recovery.model import Finding
from terrapod_control_plane.workspaces.deleted import internal as deleted_workspaces

log = structlog.get_logger()

_MARKED = "a marker in the blob store"


async def look_for_markers(ctx: Context) -> None:
    """At start: pause when applies were started that this database knows nothing of."""
    for place in await unknown_places(ctx):
        claim = await markers.read(ctx.services.blobs, place)
        if claim is None:
            log.warning("a marker of an apply can't be read and counts nothing", key=place.key)
        else:
            await _suspect(ctx, claim, _MARKED)
    if reason := await epochs.paused():
        log.error("paused: nothing is handed out until `terrapod resume`", reason=reason)


async def shown_by_agent(ctx: Context, listener: str, held: Sequence[wire.HeldPhase]) -> None:
    """An agent says that it holds what it does not hold here: perhaps it did, after a backup."""
    signed = [claim for holding in held if (claim := _proven(ctx, listener, holding))]
    if not signed:
        return
    unknown = await queries.unknown([c.phase for c in signed], [c.fence for c in signed])
    for claim in signed:
        if claim.phase in unknown:
            await _suspect(ctx, claim, f"the agent {listener}")


def _proven(ctx: Context, listener: str, holding: wire.HeldPhase) -> Claim | None:
    """The claim of what an agent says it holds, if this server has signed just that."""
    claim = markers.opened(ctx.services.ring, holding.claim) if holding.claim else None
    shown = (holding.phase_id, holding.fence, listener)
    return claim if claim and (claim.phase, claim.fence, claim.listener) == shown else None


async def _suspect(ctx: Context, claim: Claim, told_by: str) -> None:
    # What an earlier epoch gave away was settled when that ended; a workspace may be deleted.
    if epochs.epoch_of(claim.fence) < (await epochs.installation()).epoch:
        return
    if await deleted_workspaces.among(ctx, [claim.workspace]):
        return
    # Everybody whose run waits reads it, so it names nothing that not everybody may see.
    reason = f"{told_by} shows that a run went further than this database knows: it was set back"
    finding = Finding(
        phase_id=claim.phase,
        workspace_id=claim.workspace,
        workspace_name=claim.workspace_name,
        run_id=claim.run,
        fence=claim.fence,
        told_by=told_by,
        at=ctx.now(),
    )
    async with db.transaction():
        await queries.store(finding)
        fresh = await epochs.pause(ctx.now(), reason)
    if fresh:
        told = {"workspace": claim.workspace, "run": claim.run, "phase": claim.phase}
        log.error("the database is older than what has happened: paused", reason=reason, **told)


async def mark_start(ctx: Context, listener: str, run_id: str) -> None:
    """Leave a marker of an apply whose start was committed, before its agent is told."""
    run = await runs_queries.get(run_id)
    apply = await runs_queries.phase(run.apply_id) if run else None
    if run is not None and apply is not None:
        try:
            await markers.mark(ctx.services.blobs, claim_of(run, apply.id, apply.fence, listener))
        except OSError as error:
            # The agent asks again, and terraform starts only after an answer.
            told = f"The start can't be noted: {error.strerror}."
            raise Unavailable(told, code=Code.STORAGE_FULL) from error


def claim_token(ctx: Context, run: Run, phase: Phase) -> str:
    """What an agent can show later to prove what it was given."""
    claim = claim_of(run, phase.id, phase.fence, phase.listener_id or "")
    return markers.signed(ctx.services.ring, claim)


def claim_of(run: Run, phase: str, fence: int, listener: str) -> Claim:
    """Who was given which phase of a run."""
    return Claim(
        listener=listener,
        workspace=run.workspace_id,
        workspace_name=run.workspace_name,
        run=run.id,
        phase=phase,
        fence=fence,
    )


async def forget_deleted(ctx: Context) -> None:
    """Remove the markers of workspaces that were deleted."""
    if await epochs.paused() is not None:
        return
    unknown = await unknown_places(ctx)
    gone = await deleted_workspaces.among(ctx, [place.workspace for place in unknown])
    for place in unknown:
        if place.workspace in gone:
            await ctx.services.blobs.delete(place.key)


async def unknown_places(ctx: Context) -> list[markers.Place]:
    """Where markers lie of applies that the database does not know."""
    places = await markers.places(ctx.services.blobs)
    unknown = await queries.unknown([p.phase for p in places], [p.fence for p in places])
    return [place for place in places if place.phase in unknown]
