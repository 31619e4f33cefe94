"""Who follows the log of a plan, so that the end of a fast apply is not shown before they look.

Terraform's command line reads a plan's log to its end, then asks for the run once, and shows no
apply of a run that is over by then. So the end of an apply is stored at once and shown when such a
reader has asked; the moment is a column of the run, so that it comes whatever happens to us.
"""

from datetime import timedelta

import msgspec

from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.runs import queries
from terrapod_control_plane.runs.model import Phase, Run

# From the reader's question for the run to its next one, for which the end may be shown.
_NEXT = timedelta(seconds=1)


@internal
async def reads(ctx: Context, phase: Phase, *, end: bool) -> None:
    """Somebody reads a log, perhaps to its end."""
    hidden = phase.shown_at is not None and phase.shown_at > ctx.now()
    if phase.kind == "apply":
        if hidden:  # whoever reads this one knows that there is an apply
            await queries.show_end(phase.run_id, ctx.now())
        return
    store, wait = ctx.parts.ephemeral, ctx.settings.runs.show_end_after_seconds
    if not end:
        # Terraform reads on within two seconds; a reader whose machine is busy may take longer.
        longest = ctx.settings.runs.show_end_at_most_seconds
        await store.set(f"plan-followed:{phase.run_id}", b"1", longest)
        return
    await store.take(f"plan-followed:{phase.run_id}")
    if wait > 0:
        await store.set(f"plan-read:{phase.run_id}", b"1", wait)
    if hidden:
        await queries.show_end(phase.run_id, ctx.now() + timedelta(seconds=wait))


@internal
async def asks(ctx: Context, run: Run) -> None:
    """Somebody asks for a run; a reader who has seen the plan's log end knows enough with that."""
    if await ctx.parts.ephemeral.take(f"plan-read:{run.id}") is None:
        return
    if run.shown_at is not None and run.shown_at > ctx.now():
        await queries.show_end(run.id, ctx.now() + _NEXT)


async def hidden(ctx: Context, run: Run) -> Run:
    """The run whose apply ends now, with the moment from which that is shown."""
    store, runs = ctx.parts.ephemeral, ctx.settings.runs
    if await store.get(f"plan-followed:{run.id}") is not None:
        seconds = runs.show_end_at_most_seconds
    elif await store.get(f"plan-read:{run.id}") is not None:
        seconds = runs.show_end_after_seconds
    else:
        return run
    return msgspec.structs.replace(run, shown_at=ctx.now() + timedelta(seconds=seconds))
