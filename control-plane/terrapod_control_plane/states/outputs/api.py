"""Routes of outputs."""

from litestar import get
from litestar.params import FromPath
from litestar.response import Stream

from terrapod_control_plane.kernel.jsonapi import Page, present
from terrapod_control_plane.states.outputs import service
from terrapod_control_plane.states.outputs.schema import OutputDoc
from terrapod_control_plane.web.params import Ctx, PagingParam
from terrapod_control_plane.web.streams import documents


@get("/state-versions/{version_id:str}/outputs")
async def index(ctx: Ctx, version_id: FromPath[str], paging: PagingParam) -> Page[OutputDoc]:
    """The outputs of a version."""
    return (await service.outputs(ctx, version_id, paging)).presented(OutputDoc)


@get("/workspaces/{workspace_id:str}/current-state-version-outputs")
async def current(ctx: Ctx, workspace_id: FromPath[str]) -> Stream:
    """The outputs of the present state, all of them: clients read no second page."""
    return await documents(await service.current_outputs(ctx, workspace_id), OutputDoc)


@get("/state-version-outputs/{output_id:str}")
async def show(ctx: Ctx, output_id: FromPath[str]) -> OutputDoc:
    """An output."""
    return present(await service.output(ctx, output_id), OutputDoc)


ROUTES = [index, current, show]
