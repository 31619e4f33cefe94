"""Routes of pools and tokens, for operators; and how an agent joins."""

from typing import Any

from litestar import Request, delete, get, post
from litestar.params import FromPath, JSONBody

from terrapod_control_plane.agents import service
from terrapod_control_plane.agents.schema import ListenerDoc, PoolCreate, PoolDoc
from terrapod_control_plane.identity.schema import NewToken, TokenDoc
from terrapod_control_plane.identity.views import new_token
from terrapod_control_plane.kernel.jsonapi import Page, present
from terrapod_control_plane.organizations import model as organizations_model
from terrapod_control_plane.web.params import Ctx, PagingParam, Query

AnyRequest = Request[Any, Any, Any]


@post("/organizations/{organization:str}/agent-pools")
async def create(ctx: Ctx, organization: FromPath[str], data: JSONBody[PoolCreate]) -> PoolDoc:
    """A new pool."""
    organizations_model.must_exist(organization)
    pool = await service.create_pool(ctx, data.name, data.service_account_name or "")
    return present(pool, PoolDoc)


@get("/organizations/{organization:str}/agent-pools")
async def index(
    ctx: Ctx, organization: FromPath[str], paging: PagingParam, asked: Query
) -> Page[PoolDoc]:
    """Pools by name."""
    organizations_model.must_exist(organization)
    return (await service.pools(ctx, asked.get("q", ""), paging)).presented(PoolDoc)


@get("/agent-pools/{pool_id:str}")
async def show(ctx: Ctx, pool_id: FromPath[str]) -> PoolDoc:
    """A pool."""
    return present(await service.pool(ctx, pool_id), PoolDoc)


@delete("/agent-pools/{pool_id:str}")
async def remove(ctx: Ctx, pool_id: FromPath[str], asked: Query) -> None:
    """Remove a pool; `move-to` says which one takes its workspaces and the runs that wait."""
    await service.delete_pool(ctx, pool_id, asked.get("move-to") or None)


@post("/agent-pools/{pool_id:str}/authentication-tokens")
async def create_token(ctx: Ctx, pool_id: FromPath[str], data: JSONBody[NewToken]) -> TokenDoc:
    """A new join token."""
    ends, uses = data.expired_at, data.max_uses
    return new_token(await service.create_token(ctx, pool_id, data.description or "", ends, uses))


@get("/agent-pools/{pool_id:str}/authentication-tokens")
async def tokens(ctx: Ctx, pool_id: FromPath[str], paging: PagingParam) -> Page[TokenDoc]:
    """The join tokens of a pool."""
    return (await service.tokens(ctx, pool_id, paging)).presented(TokenDoc)


@get("/agent-pools/{pool_id:str}/listeners")
async def listeners(ctx: Ctx, pool_id: FromPath[str], paging: PagingParam) -> Page[ListenerDoc]:
    """The agents of a pool."""
    return (await service.listeners(ctx, pool_id, paging)).presented(ListenerDoc)


@delete("/agent-pools/{pool_id:str}/listeners/{listener_id:str}")
async def revoke(ctx: Ctx, pool_id: FromPath[str], listener_id: FromPath[str]) -> None:
    """Shut an agent out."""
    await service.revoke(ctx, pool_id, listener_id)


ROUTES = [
    create,
    index,
    show,
    remove,
    create_token,
    tokens,
    listeners,
    revoke,
]
