"""Routes of state versions."""

from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from terrapod_control_plane.kernel.jsonapi import Compound, Page, present
from terrapod_control_plane.states import service
from terrapod_control_plane.states.schema import StateVersionDoc
from terrapod_control_plane.web.auth import PUBLIC
from terrapod_control_plane.web.params import Ctx, IncludeParam, PagingParam, Query
from terrapod_control_plane.web.streams import streamed
from terrapod_control_plane.workspaces import service as workspaces_service

AnyRequest = Request[Any, Any, Any]

_OF = "/workspaces/{workspace_id:str}/state-versions"
_ONE = "/state-versions/{version_id:str}"


def _snapshots(ctx: Ctx) -> dict[str, str]:
    seconds = ctx.settings.states.snapshot_seconds
    return {"X-Terraform-Snapshot-Interval": str(seconds)} if seconds > 0 else {}


@get(_OF)
async def page(
    ctx: Ctx, workspace_id: FromPath[str], paging: PagingParam, include: IncludeParam
) -> Compound[StateVersionDoc]:
    """The versions of a workspace."""
    found: Page[StateVersionDoc] = (await service.page(ctx, workspace_id, paging)).presented(
        StateVersionDoc
    )
    return await include.with_related(ctx, found)


@get("/state-versions")
async def page_named(
    ctx: Ctx, paging: PagingParam, include: IncludeParam, asked: Query
) -> Compound[StateVersionDoc]:
    """The versions of a workspace that is named in the query."""
    organization = asked.get("filter[organization][name]", "default")
    id_ = await workspaces_service.id_of(
        ctx, organization, asked.get("filter[workspace][name]", "")
    )
    found: Page[StateVersionDoc] = (await service.page(ctx, id_, paging)).presented(StateVersionDoc)
    return await include.with_related(ctx, found)


@get("/workspaces/{workspace_id:str}/current-state-version")
async def current(
    ctx: Ctx, workspace_id: FromPath[str], include: IncludeParam
) -> Response[Compound[StateVersionDoc]]:
    """The present state of a workspace."""
    doc = present(await service.current(ctx, workspace_id), StateVersionDoc)
    return Response(await include.with_related(ctx, doc), headers=_snapshots(ctx))


@get(_ONE)
async def show(
    ctx: Ctx, version_id: FromPath[str], include: IncludeParam
) -> Compound[StateVersionDoc]:
    """A version."""
    doc = present(await service.show(ctx, version_id), StateVersionDoc)
    return await include.with_related(ctx, doc)


@get(f"{_ONE}/download", status_code=302)
async def find(ctx: Ctx, version_id: FromPath[str]) -> Redirect:
    """Where the content can be had for a while."""
    return Redirect(await service.download_url(ctx, version_id), status_code=302)


@get("/state-download/{token:str}", opt=PUBLIC)
async def download(ctx: Ctx, token: FromPath[str]) -> Stream:
    """The content of a version."""
    size, chunks = await service.download(ctx, token)
    headers = {"Content-Length": str(size)}
    return await streamed(chunks, "application/json", headers)


ROUTES = [page, page_named, current, show, find, download]
