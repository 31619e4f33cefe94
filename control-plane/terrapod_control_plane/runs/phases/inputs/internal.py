"""What a phase reads: its run, the plan, variables."""

import msgspec
from msgspec.json import encode

from terrapod_common import wire
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.model import Phase, Run, RunVariable


async def run_of(ctx: Context, phase: Phase) -> Run:
    """The run of a phase."""
    found = await runs_queries.get(phase.run_id)
    if found is None:
        raise NotFound(f"There is no {phase.run_id}.")
    return found


async def reads(
    ctx: Context, plan: Phase, state: str | None, variables: list[wire.RunVariable]
) -> None:
    """Note what a plan that was just claimed is about to read; its apply must see the same."""
    sealed = ctx.services.ring.seal(encode(variables), _sealed_for(plan))
    async with db.transaction():
        await runs_queries.reads(plan.id, state, sealed)


def read_by(ctx: Context, plan: Phase) -> list[wire.RunVariable]:
    """The variables of category ``terraform`` that a plan has read."""
    if plan.variables is None:
        return []
    plain = ctx.services.ring.open(plan.variables, _sealed_for(plan))
    return msgspec.json.decode(plain, type=list[wire.RunVariable])


def _sealed_for(plan: Phase) -> str:
    return f"phase-variables:{plan.id}"


async def plan_of(ctx: Context, run: Run) -> Phase:
    """The plan of a run."""
    found = await runs_queries.phase(run.plan_id)
    if found is None:
        raise NotFound(f"There is no {run.plan_id}.")
    return found


def variables_of(ctx: Context, run: Run) -> list[RunVariable]:
    """The variables that were given for one run, in clear."""
    if run.variables is None:
        return []
    plain = ctx.services.ring.open(run.variables, f"run:{run.id}")
    return msgspec.json.decode(plain, type=list[RunVariable])
