"""Routes of sharing."""

from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody

from terrapod_control_plane.kernel.jsonapi import Page
from terrapod_control_plane.web.params import Ctx, PagingParam
from terrapod_control_plane.workspaces import views as workspace_views
from terrapod_control_plane.workspaces.schema import ConsumerIn, WorkspaceDoc
from terrapod_control_plane.workspaces.sharing import service

_CONSUMERS = "/workspaces/{workspace_id:str}/relationships/remote-state-consumers"


@get(_CONSUMERS)
async def page(ctx: Ctx, workspace_id: FromPath[str], paging: PagingParam) -> Page[WorkspaceDoc]:
    """The workspaces that may read the state of this one."""
    found = await service.page(ctx, workspace_id, paging)
    return found.holding([workspace_views.document(ctx, one) for one in found.items])


@post(_CONSUMERS, status_code=204)
async def add(ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[list[ConsumerIn]]) -> None:
    """Let more workspaces read the state."""
    await service.add(ctx, workspace_id, [one.id for one in data])


@patch(_CONSUMERS, status_code=204)
async def replace(ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[list[ConsumerIn]]) -> None:
    """Let these workspaces read the state, and no others."""
    await service.replace(ctx, workspace_id, [one.id for one in data])


@delete(_CONSUMERS)
async def remove(ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[list[ConsumerIn]]) -> None:
    """Let these workspaces read the state no longer."""
    await service.remove(ctx, workspace_id, [one.id for one in data])


ROUTES = [page, add, replace, remove]
