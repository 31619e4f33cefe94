"""Routes by which agents join and renew; the credential is in the body."""

from litestar import post
from litestar.params import FromPath, JSONBody

from terrapod_common import wire
from terrapod_control_plane.agents.enrolment import service
from terrapod_control_plane.web.auth import ENROLMENT
from terrapod_control_plane.web.params import Ctx


@post("/agent-pools/join", opt=ENROLMENT)
async def join(ctx: Ctx, data: JSONBody[wire.Join]) -> wire.Joined:
    """An identity for whoever has a join token."""
    return await service.join(ctx, data)


@post("/agent-pools/{pool_id:str}/listeners/join", opt=ENROLMENT)
async def join_pool(ctx: Ctx, pool_id: FromPath[str], data: JSONBody[wire.Join]) -> wire.Joined:
    """The same, under the older path."""
    return await service.join(ctx, data, pool_id)


@post("/listeners/{listener_id:str}/nonce", opt=ENROLMENT, status_code=200)
async def nonce(ctx: Ctx, listener_id: FromPath[str]) -> wire.Nonce:
    """Something to sign for a listener whose certificate has ended."""
    return await service.nonce(ctx, listener_id)


@post("/listeners/{listener_id:str}/renew", opt=ENROLMENT, status_code=200)
async def renew(ctx: Ctx, listener_id: FromPath[str], data: JSONBody[wire.Renew]) -> wire.Renewed:
    """The next certificate; on the public port with nonce and signature."""
    return await service.renew(ctx, listener_id, data)


ROUTES = [join, join_pool, nonce, renew]
