"""Routes of runs, plans, applies and their logs."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream

from terrapod_common.wire import PLAN_JSON
from terrapod_control_plane.kernel.crypto.keys import BadToken
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.kernel.jsonapi import Compound, Page
from terrapod_control_plane.organizations import service as organizations
from terrapod_control_plane.runs import holds, presenting, service
from terrapod_control_plane.runs.logs import service as logs
from terrapod_control_plane.runs.schema import (
    ApplyDoc,
    CapacityDoc,
    Comment,
    EventDoc,
    PlanDoc,
    RunCreate,
    RunDoc,
    StageDoc,
)
from terrapod_control_plane.runs.transfers import service as transfers
from terrapod_control_plane.web.auth import PUBLIC
from terrapod_control_plane.web.params import Ctx, IncludeParam, PagingParam, Query, listed
from terrapod_control_plane.web.streams import streamed
from terrapod_control_plane.workspaces import service as workspaces
from terrapod_control_plane.workspaces.schema import WorkspaceDoc

# Litestar gives an empty body no chance to be decoded.
_NO_COMMENT = Comment()
_LARGEST_READ = 1024 * 1024


@post("/runs")
async def create(ctx: Ctx, data: JSONBody[RunCreate]) -> RunDoc:
    """A new run."""
    return await presenting.document(ctx, await service.create(ctx, presenting.asked(data)))


@get("/runs/{run_id:str}")
async def show(ctx: Ctx, run_id: FromPath[str], include: IncludeParam) -> Compound[RunDoc]:
    """A run."""
    run = await presenting.document(ctx, await service.show(ctx, run_id))
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
    documents = await presenting.documents(ctx, page.items)
    return await include.with_related(ctx, page.holding(documents))


@get("/organizations/{organization:str}/runs/queue")
async def queue(ctx: Ctx, organization: FromPath[str], paging: PagingParam) -> Page[RunDoc]:
    """The open runs of all workspaces."""
    organizations.exists(organization)
    page = await service.queue_of_all(ctx, paging)
    return page.holding(await presenting.documents(ctx, page.items))


@get("/organizations/{organization:str}/capacity")
async def capacity(ctx: Ctx, organization: FromPath[str]) -> CapacityDoc:
    """How many runs wait for an agent, and how many have one."""
    organizations.exists(organization)
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
async def confirm(ctx: Ctx, run_id: FromPath[str], data: JSONBody[Comment] = _NO_COMMENT) -> RunDoc:
    """Let the plan be applied."""
    return await presenting.document(ctx, await service.confirm(ctx, run_id))


@post("/runs/{run_id:str}/actions/discard", status_code=202)
async def discard(ctx: Ctx, run_id: FromPath[str], data: JSONBody[Comment] = _NO_COMMENT) -> RunDoc:
    """The plan is not wanted."""
    return await presenting.document(ctx, await service.discard(ctx, run_id))


@post("/runs/{run_id:str}/actions/cancel", status_code=202)
async def cancel(ctx: Ctx, run_id: FromPath[str], data: JSONBody[Comment] = _NO_COMMENT) -> RunDoc:
    """End a waiting run now, ask a running one to end."""
    return await presenting.document(ctx, await service.cancel(ctx, run_id))


@post("/runs/{run_id:str}/actions/force-cancel", status_code=202)
async def force_cancel(
    ctx: Ctx, run_id: FromPath[str], data: JSONBody[Comment] = _NO_COMMENT
) -> RunDoc:
    """End a run that did not answer to its cancel."""
    return await presenting.document(ctx, await service.force_cancel(ctx, run_id))


@get("/plans/{plan_id:str}")
async def plan(ctx: Ctx, plan_id: FromPath[str]) -> PlanDoc:
    """A plan."""
    return presenting.plan(ctx, await service.phase(ctx, plan_id))


@get("/applies/{apply_id:str}")
async def apply(ctx: Ctx, apply_id: FromPath[str]) -> ApplyDoc:
    """An apply."""
    return presenting.apply(ctx, await service.phase(ctx, apply_id))


@get("/runs/{run_id:str}/plan")
async def plan_of_run(ctx: Ctx, run_id: FromPath[str]) -> PlanDoc:
    """The plan of a run."""
    run = await service.show(ctx, run_id)
    return presenting.plan(ctx, await service.phase(ctx, run.plan_id))


@get("/runs/{run_id:str}/apply")
async def apply_of_run(ctx: Ctx, run_id: FromPath[str]) -> ApplyDoc:
    """The apply of a run."""
    run = await service.show(ctx, run_id)
    return presenting.apply(ctx, await service.phase(ctx, run.apply_id))


@get("/plans/{plan_id:str}/json-output")
async def json_output(ctx: Ctx, plan_id: FromPath[str]) -> Stream:
    """The plan as `terraform show -json` gives it."""
    found = await service.phase_in_full(ctx, plan_id)
    body = transfers.read_artifact(ctx, found, PLAN_JSON)
    return await streamed(body, "application/json")


@get("/logs/{token:str}", opt=PUBLIC)
async def log(ctx: Ctx, token: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
    """A cut of a log; the token in the path is the credential."""
    try:
        phase = ctx.services.signer.verify(token, "log-read")
    except BadToken as error:
        raise NotFound(str(error)) from None
    offset, limit = _cut(request)
    body = await logs.read(ctx, phase, offset, limit)
    return Response(body, media_type="application/octet-stream")


def _cut(request: Request[Any, Any, Any]) -> tuple[int, int]:
    offset = request.query_params.get("offset", "0")
    limit = request.query_params.get("limit", str(_LARGEST_READ))
    return (
        int(offset) if offset.isdecimal() and len(offset) < 19 else 0,
        min(int(limit), _LARGEST_READ) if limit.isdecimal() and len(limit) < 19 else _LARGEST_READ,
    )


@post("/workspaces/{workspace_id:str}/actions/adopt-state", status_code=200)
async def adopt_state(
    ctx: Ctx, workspace_id: FromPath[str], asked: Query, data: JSONBody[Comment] = _NO_COMMENT
) -> WorkspaceDoc:
    """Make the state that a lost apply reached the current one, and end the hold."""
    replace = asked.get("replace") == "true"
    return workspaces.doc_of(ctx, await holds.adopt(ctx, workspace_id, replace_newer=replace))


@post("/workspaces/{workspace_id:str}/actions/clear-hold", status_code=200)
async def clear_hold(
    ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[Comment] = _NO_COMMENT
) -> WorkspaceDoc:
    """End the hold with the state that the server has."""
    return workspaces.doc_of(ctx, await holds.clear(ctx, workspace_id))


ROUTES = [
    adopt_state,
    clear_hold,
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
    json_output,
    log,
]
