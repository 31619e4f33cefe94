"""Routes of outputs."""

from collections.abc import Sequence

from litestar import get
from litestar.params import FromPath

from terrapod_common.jsonapi import Page, present
from terrapod_control_plane.states.outputs import service
from terrapod_control_plane.states.outputs.schema import OutputDoc
from terrapod_control_plane.web.params import Ctx, PagingParam


@get("/state-versions/{version_id:str}/outputs")
async def of(ctx: Ctx, version_id: FromPath[str], paging: PagingParam) -> Page[OutputDoc]:
    """The outputs of a version."""
    return (await service.outputs(ctx, version_id, paging)).of(OutputDoc)


@get("/workspaces/{workspace_id:str}/current-state-version-outputs")
async def current(ctx: Ctx, workspace_id: FromPath[str]) -> Sequence[OutputDoc]:
    """The outputs of the present state; clients read no second page of them."""
    return [present(one, OutputDoc) for one in await service.current_outputs(ctx, workspace_id)]


@get("/state-version-outputs/{output_id:str}")
async def show(ctx: Ctx, output_id: FromPath[str]) -> OutputDoc:
    """An output."""
    return present(await service.output(ctx, output_id), OutputDoc)


ROUTES = [of, current, show]
