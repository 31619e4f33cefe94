"""Routes of the recovery."""

import msgspec
from litestar import get, post

from terrapod_control_plane.runs.recovery import service
from terrapod_control_plane.runs.recovery.model import Recovery
from terrapod_control_plane.runs.recovery.schema import FindingDoc, RecoveryDoc
from terrapod_control_plane.web.params import Ctx, Query


@get("/admin/recovery")
async def show(ctx: Ctx) -> RecoveryDoc:
    """Whether the server is paused, why, and which applies its database does not know."""
    return _document(await service.show(ctx))


@post("/admin/recovery/actions/resume", status_code=200)
async def resume(ctx: Ctx, asked: Query) -> RecoveryDoc:
    """Begin a new epoch, end what was open, and hand out work again."""
    return _document(await service.resume(ctx, new_epoch=asked.get("new-epoch") == "true"))


def _document(found: Recovery) -> RecoveryDoc:
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


ROUTES = [show, resume]
