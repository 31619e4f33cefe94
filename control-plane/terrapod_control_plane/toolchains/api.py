"""Routes of the binary cache."""

from typing import Any

from litestar import Request, delete, get, put
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from terrapod_control_plane.kernel.jsonapi import Page, present
from terrapod_control_plane.toolchains import service, views
from terrapod_control_plane.toolchains.model import Platform
from terrapod_control_plane.toolchains.package import BYTES_AT_MOST
from terrapod_control_plane.toolchains.schema import ToolDoc
from terrapod_control_plane.web.auth import PUBLIC
from terrapod_control_plane.web.params import Ctx, PagingParam, Query
from terrapod_control_plane.web.streams import limited, streamed

_PLATFORM = "{tool:str}/{version:str}/{os:str}/{arch:str}"


@put(f"/admin/binary-cache/{_PLATFORM}", request_max_body_size=None)
async def store(ctx: Ctx, asked: Query, request: Request[Any, Any, Any]) -> ToolDoc:
    """Import an executable or the zip archive of a release."""
    body = limited(request, BYTES_AT_MOST)
    stored = await service.store(ctx, _platform(request), body, asked.get("digest"))
    return present(stored, ToolDoc)


@get("/admin/binary-cache")
async def entries(ctx: Ctx, paging: PagingParam) -> Page[ToolDoc]:
    """Everything in the cache."""
    return (await service.entries(ctx, paging)).presented(ToolDoc)


@delete("/admin/binary-cache/{tool:str}/{version:str}")
async def remove(ctx: Ctx, tool: FromPath[str], version: FromPath[str]) -> None:
    """Remove a version for all platforms."""
    await service.delete(ctx, tool, version)


@get(f"/binary-cache/{_PLATFORM}", status_code=302)
async def fetch(ctx: Ctx, request: Request[Any, Any, Any]) -> Redirect:
    """Where an executable is, and its digest."""
    found = await service.fetch(ctx, _platform(request))
    digest = {"X-Terrapod-Digest": found.digest}
    return Redirect(views.url(ctx, found), status_code=302, headers=digest)


@get("/binaries/{token:str}", opt=PUBLIC)
async def binary(ctx: Ctx, token: FromPath[str]) -> Stream:
    """An executable; the URL is the credential."""
    return await streamed(await service.read(ctx, token))


def _platform(request: Request[Any, Any, Any]) -> Platform:
    part = request.path_params
    return Platform(part["tool"], part["version"], part["os"], part["arch"])


ROUTES = [store, entries, remove, fetch, binary]
