"""What becomes of states that runs saved on their way."""

from datetime import timedelta

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jobs import Job
from terrapod_control_plane.settings import Settings
from terrapod_control_plane.states.run_uploads import internal

_HOUR = 3600.0
_AGE = timedelta(hours=1)  # nobody reads them by then


async def forget_passed(ctx: Context) -> None:
    """Remove those that a run went on from."""
    await internal.forget_passed(ctx, ctx.now() - _AGE)


def jobs(_: Settings) -> list[Job]:
    """What runs by itself."""
    return [Job(name="states.forget-passed", run=forget_passed, every=_HOUR)]
