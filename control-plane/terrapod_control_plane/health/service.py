"""Liveness and readiness."""

from typing import Literal

from terrapod_control_plane.health import model
from terrapod_control_plane.kernel.context import Context


async def readiness(ctx: Context) -> model.Readiness:
    """What was seen at the last look; asks nobody, so that strangers may ask often."""
    ctx.public("load balancers ask without a token")
    checks = model.Checks(*(_health(ctx, part) for part in model.Checks.__struct_fields__))
    healthy = {checks.database, checks.redis, checks.storage} == {"healthy"}
    status: Literal["ready", "not ready"] = "ready" if healthy else "not ready"
    return model.Readiness(status, checks, ctx.services.condition.paused, _behind(ctx))


def _behind(ctx: Context) -> dict[str, model.LateConsumer]:
    now = ctx.now()
    return {
        lag.consumer: model.LateConsumer(
            lag.behind, int(lag.age(now)), lag.attempts, lag.dead_letters
        )
        for lag in ctx.services.condition.lags
        if lag.age(now) >= model.LATE or lag.dead_letters
    }


def _health(ctx: Context, part: str) -> model.Health:
    return "unhealthy" if ctx.services.condition.trouble(part) else "healthy"
