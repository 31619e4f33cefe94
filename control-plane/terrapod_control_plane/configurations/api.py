"""Routes of configuration versions."""

from typing import Any

from litestar import Request, Response, get, post, put
from litestar.params import FromPath, JSONBody
from litestar.response import Redirect, Stream

from terrapod_control_plane.configurations import service, views
from terrapod_control_plane.configurations.model import NewConfiguration
from terrapod_control_plane.configurations.schema import ConfigurationCreate, ConfigurationDoc
from terrapod_control_plane.kernel.jsonapi import Page, present
from terrapod_control_plane.web.auth import PUBLIC, SIGNED
from terrapod_control_plane.web.params import Ctx, PagingParam
from terrapod_control_plane.web.streams import limited, streamed

_BYTES = "application/octet-stream"


@post("/workspaces/{workspace_id:str}/configuration-versions")
async def create(
    ctx: Ctx, workspace_id: FromPath[str], data: JSONBody[ConfigurationCreate]
) -> ConfigurationDoc:
    """A new configuration, with the URL that its archive is to be sent to."""
    return views.to_upload(
        ctx, await service.create(ctx, workspace_id, data.into(NewConfiguration))
    )


@get("/workspaces/{workspace_id:str}/configuration-versions")
async def of_workspace(
    ctx: Ctx, workspace_id: FromPath[str], paging: PagingParam
) -> Page[ConfigurationDoc]:
    """The configurations of a workspace."""
    return (await service.of_workspace(ctx, workspace_id, paging)).presented(ConfigurationDoc)


@get("/configuration-versions/{configuration_id:str}")
async def show(ctx: Ctx, configuration_id: FromPath[str]) -> ConfigurationDoc:
    """A configuration."""
    return present(await service.show(ctx, configuration_id), ConfigurationDoc)


@get("/configuration-versions/{configuration_id:str}/download", status_code=302)
async def download(ctx: Ctx, configuration_id: FromPath[str]) -> Redirect:
    """Where the archive is."""
    return Redirect(await service.download_url(ctx, configuration_id), status_code=302)


@get("/configuration-downloads/{token:str}", opt=PUBLIC)
async def archive(ctx: Ctx, token: FromPath[str]) -> Stream:
    """The archive; the URL is the credential."""
    return await streamed(await service.download(ctx, token), _BYTES)


@put("/configuration-uploads/{token:str}", opt=SIGNED, request_max_body_size=None)
async def upload(ctx: Ctx, token: FromPath[str], request: Request[Any, Any, Any]) -> Response[None]:
    """Take the archive; the URL is the credential."""
    body = limited(request, ctx.settings.configurations.bytes_at_most)
    await service.upload(ctx, token, body)
    return Response(None)


ROUTES = [create, of_workspace, show, download, archive, upload]
