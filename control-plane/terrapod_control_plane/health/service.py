"""Liveness and readiness."""

from terrapod_control_plane.health import model
from terrapod_control_plane.kernel.context import Context


async def readiness(ctx: Context) -> model.Readiness:
    """What was seen at the last look; asks nobody, so that strangers may ask often."""
    ctx.public("load balancers ask without a token")
    checks = model.Checks(*(_health(ctx, part) for part in model.Checks.__struct_fields__))
    healthy = {checks.database, checks.redis, checks.storage} == {"healthy"}
    return model.Readiness(
        "ready" if healthy else "not ready", checks, ctx.services.condition.paused
    )


def _health(ctx: Context, part: str) -> model.Health:
    return "unhealthy" if ctx.services.condition.trouble(part) else "healthy"
