"""Routes by which agents join and renew; the credential is in the body."""

from typing import Any

from litestar import Request, post
from litestar.params import FromPath

from terrapod_common import wire
from terrapod_control_plane.agents.enrolment import service
from terrapod_control_plane.web import bare_json
from terrapod_control_plane.web.auth import PUBLIC
from terrapod_control_plane.web.params import Ctx

AnyRequest = Request[Any, Any, Any]


@post("/agent-pools/join", opt=PUBLIC)
async def join(ctx: Ctx, request: AnyRequest) -> bare_json.Answer:
    """An identity for whoever has a join token."""
    asked = await bare_json.body(request, wire.Join)
    return bare_json.answer(await service.join(ctx, asked), status=201)


@post("/agent-pools/{pool_id:str}/listeners/join", opt=PUBLIC)
async def join_pool(ctx: Ctx, pool_id: FromPath[str], request: AnyRequest) -> bare_json.Answer:
    """The same, under the older path."""
    asked = await bare_json.body(request, wire.Join)
    return bare_json.answer(await service.join(ctx, asked, pool_id), status=201)


@post("/listeners/{listener_id:str}/nonce", opt=PUBLIC)
async def nonce(ctx: Ctx, listener_id: FromPath[str]) -> bare_json.Answer:
    """Something to sign for a listener whose certificate has ended."""
    return bare_json.answer(await service.nonce(ctx, listener_id))


@post("/listeners/{listener_id:str}/renew", opt=PUBLIC)
async def renew(ctx: Ctx, listener_id: FromPath[str], request: AnyRequest) -> bare_json.Answer:
    """The next certificate; on the public port with nonce and signature."""
    asked = await bare_json.body(request, wire.Renew)
    return bare_json.answer(await service.renew(ctx, listener_id, asked))


ROUTES = [join, join_pool, nonce, renew]
