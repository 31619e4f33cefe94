"""Routes of runs, plans, applies and their logs."""

from litestar import get, post
from litestar.params import FromPath, JSONBody

from terrapod_control_plane.kernel.jsonapi import Compound, Page
from terrapod_control_plane.organizations import model as organizations_model
from terrapod_control_plane.runs import service, views
from terrapod_control_plane.runs.schema import (
    NO_COMMENT,
    ApplyDoc,
    CapacityDoc,
    Comment,
    EventDoc,
    PlanDoc,
    RunCreate,
    RunDoc,
    StageDoc,
)
from terrapod_control_plane.web.params import Ctx, IncludeParam, PagingParam, Query, listed


@post("/runs")
async def create(ctx: Ctx, data: JSONBody[RunCreate]) -> RunDoc:
    """A new run."""
    return await views.document(ctx, await service.create(ctx, views.asked(data)))


@get("/runs/{run_id:str}")
async def show(ctx: Ctx, run_id: FromPath[str], include: IncludeParam) -> Compound[RunDoc]:
    """A run."""
    run = await views.document(ctx, await service.show(ctx, run_id))
    return await include.with_related(ctx, run)


@get("/workspaces/{workspace_id:str}/runs")
async def index(
    ctx: Ctx,
    workspace_id: FromPath[str],
    paging: PagingParam,
    include: IncludeParam,
    asked: Query,
) -> Compound[RunDoc]:
    """The runs of a workspace, newest first."""
    statuses = listed(asked.get("filter[status]"))
    page = await service.of_workspace(ctx, workspace_id, statuses, paging)
    documents = await views.documents(ctx, page.items)
    return await include.with_related(ctx, page.holding(documents))


@get("/organizations/{organization:str}/runs/queue")
async def queue(ctx: Ctx, organization: FromPath[str], paging: PagingParam) -> Page[RunDoc]:
    """The open runs of all workspaces."""
    organizations_model.must_exist(organization)
    page = await service.queue_of_all(ctx, paging)
    return page.holding(await views.documents(ctx, page.items))


@get("/organizations/{organization:str}/capacity")
async def capacity(ctx: Ctx, organization: FromPath[str]) -> CapacityDoc:
    """How many runs wait for an agent, and how many have one."""
    organizations_model.must_exist(organization)
    pending, running = await service.capacity(ctx)
    return CapacityDoc(id=organization, pending=pending, running=running)


@get("/runs/{run_id:str}/run-events")
async def run_events(ctx: Ctx, run_id: FromPath[str]) -> list[EventDoc]:
    """What the CLI should warn of; nothing does yet."""
    await service.show(ctx, run_id)
    return []


@get("/runs/{run_id:str}/task-stages")
async def task_stages(ctx: Ctx, run_id: FromPath[str]) -> list[StageDoc]:
    """Stages of run tasks; there are none yet."""
    await service.show(ctx, run_id)
    return []


@post(["/runs/{run_id:str}/actions/apply", "/runs/{run_id:str}/actions/confirm"], status_code=202)
async def confirm(ctx: Ctx, run_id: FromPath[str], data: JSONBody[Comment] = NO_COMMENT) -> RunDoc:
    """Let the plan be applied."""
    return await views.document(ctx, await service.confirm(ctx, run_id))


@post("/runs/{run_id:str}/actions/discard", status_code=202)
async def discard(ctx: Ctx, run_id: FromPath[str], data: JSONBody[Comment] = NO_COMMENT) -> RunDoc:
    """The plan is not wanted."""
    return await views.document(ctx, await service.discard(ctx, run_id))


@post("/runs/{run_id:str}/actions/cancel", status_code=202)
async def cancel(ctx: Ctx, run_id: FromPath[str], data: JSONBody[Comment] = NO_COMMENT) -> RunDoc:
    """End a waiting run now, ask a running one to end."""
    return await views.document(ctx, await service.cancel(ctx, run_id))


@post("/runs/{run_id:str}/actions/force-cancel", status_code=202)
async def force_cancel(
    ctx: Ctx, run_id: FromPath[str], data: JSONBody[Comment] = NO_COMMENT
) -> RunDoc:
    """End a run that did not answer to its cancel."""
    return await views.document(ctx, await service.force_cancel(ctx, run_id))


@get("/plans/{plan_id:str}")
async def plan(ctx: Ctx, plan_id: FromPath[str]) -> PlanDoc:
    """A plan."""
    return views.plan(ctx, await service.phase(ctx, plan_id))


@get("/applies/{apply_id:str}")
async def apply(ctx: Ctx, apply_id: FromPath[str]) -> ApplyDoc:
    """An apply."""
    return views.apply(ctx, await service.phase(ctx, apply_id))


@get("/runs/{run_id:str}/plan")
async def plan_of_run(ctx: Ctx, run_id: FromPath[str]) -> PlanDoc:
    """The plan of a run."""
    run = await service.show(ctx, run_id)
    return views.plan(ctx, await service.phase(ctx, run.plan_id))


@get("/runs/{run_id:str}/apply")
async def apply_of_run(ctx: Ctx, run_id: FromPath[str]) -> ApplyDoc:
    """The apply of a run."""
    run = await service.show(ctx, run_id)
    return views.apply(ctx, await service.phase(ctx, run.apply_id))


ROUTES = [
    create,
    show,
    index,
    queue,
    capacity,
    run_events,
    task_stages,
    confirm,
    discard,
    cancel,
    force_cancel,
    plan,
    apply,
    plan_of_run,
    apply_of_run,
]
