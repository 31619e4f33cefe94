"""Who follows the log of a plan, so that the end of a fast apply is not shown before they look.

Terraform's command line reads a plan's log to its end, then asks for the run once, and shows no
apply of a run that is over by then. So the end of an apply is stored at once and shown when such a
reader has asked; the moment is a column of the run, so that it comes whatever happens to us.
Before that they ask for the run every few seconds, and all of it may be over between two questions.
"""

from datetime import timedelta

import msgspec

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.model import Phase, Run, Status

# From the reader's question for the run to its next one, for which the end may be shown.
_NEXT = timedelta(seconds=1)
# What a reader did counts for so long: on a busy machine they take their time to go on.
_REMEMBERED = 60.0
_BEFORE = frozenset({Status.PENDING, Status.PLAN_QUEUED, Status.PLANNING})


async def reads(ctx: Context, phase: Phase, *, end: bool) -> None:
    """Somebody reads a log, perhaps to its end."""
    hidden = phase.shown_at is not None and phase.shown_at > ctx.now()
    store, wait = ctx.services.ephemeral, ctx.settings.runs.show_end_after_seconds
    if phase.kind == "apply":  # whoever reads this one knows that there is an apply
        for mark in ("asked", "followed", "read"):
            await store.take(f"plan-{mark}:{phase.run_id}")
        if hidden:
            await runs_queries.show_end(phase.run_id, ctx.now())
        return
    if not end:
        if ctx.settings.runs.show_end_at_most_seconds > 0:
            await store.set(f"plan-followed:{phase.run_id}", b"1", _REMEMBERED)
        return
    await store.take(f"plan-followed:{phase.run_id}")
    if wait > 0:
        await store.set(f"plan-read:{phase.run_id}", b"1", _REMEMBERED)
    if hidden:
        await runs_queries.show_end(phase.run_id, ctx.now() + timedelta(seconds=wait))


async def asks(ctx: Context, run: Run) -> None:
    """Somebody asks for a run; a reader who has seen the plan's log end knows enough with that."""
    store, runs = ctx.services.ephemeral, ctx.settings.runs
    if run.status in _BEFORE:
        # Without auto-apply nothing is applied before a person has seen the plan.
        if run.auto_apply and runs.show_end_at_most_seconds > 0:
            await store.set(f"plan-asked:{run.id}", b"1", _REMEMBERED)
        return
    seconds = timedelta(seconds=runs.show_end_after_seconds)
    if await store.take(f"plan-read:{run.id}") is not None:
        seconds = _NEXT
    elif await store.take(f"plan-asked:{run.id}") is None:
        return
    elif seconds:  # they will read the plan's log now, and ask again
        await store.set(f"plan-read:{run.id}", b"1", _REMEMBERED)
    if run.shown_at is not None and run.shown_at > ctx.now():
        await runs_queries.show_end(run.id, ctx.now() + seconds)


async def hidden(ctx: Context, run: Run, *, applied: bool = False) -> Run:
    """The run whose apply ends now, with the moment from which that is shown."""
    store, runs = ctx.services.ephemeral, ctx.settings.runs
    asked = not applied and await store.get(f"plan-asked:{run.id}") is not None
    if asked or await store.get(f"plan-followed:{run.id}") is not None:
        seconds = runs.show_end_at_most_seconds
    elif await store.get(f"plan-read:{run.id}") is not None:
        seconds = runs.show_end_after_seconds
    else:
        return run
    return msgspec.structs.replace(run, shown_at=ctx.now() + timedelta(seconds=seconds))
