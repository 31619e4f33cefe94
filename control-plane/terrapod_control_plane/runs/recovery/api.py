"""Routes of the recovery."""

from litestar import get, post

from terrapod_control_plane.runs.recovery import service, views
from terrapod_control_plane.runs.recovery.schema import RecoveryDoc
from terrapod_control_plane.web.params import Ctx, Query


@get("/admin/recovery")
async def show(ctx: Ctx) -> RecoveryDoc:
    """Whether the server is paused, why, and which applies its database does not know."""
    return views.document(await service.show(ctx))


@post("/admin/recovery/actions/resume", status_code=200)
async def resume(ctx: Ctx, asked: Query) -> RecoveryDoc:
    """Begin a new epoch, end what was open, and hand out work again."""
    return views.document(await service.resume(ctx, new_epoch=asked.get("new-epoch") == "true"))


ROUTES = [show, resume]
