"""Routes of users and tokens."""

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from terrapod_control_plane.identity import service
from terrapod_control_plane.identity.schema import NewToken, TokenDoc, UserDoc
from terrapod_control_plane.identity.views import new_token
from terrapod_control_plane.kernel.jsonapi import Page, present
from terrapod_control_plane.web.params import Ctx, PagingParam


@get("/account/details")
async def account(ctx: Ctx) -> UserDoc:
    """The caller's own user."""
    return present(await service.account(ctx), UserDoc)


@post("/users/{user_id:str}/authentication-tokens")
async def create_token(ctx: Ctx, user_id: FromPath[str], data: JSONBody[NewToken]) -> TokenDoc:
    """A new API token for a user."""
    return new_token(await service.create_token(ctx, user_id, data.description, data.expired_at))


@get("/users/{user_id:str}/authentication-tokens")
async def tokens(ctx: Ctx, user_id: FromPath[str], paging: PagingParam) -> Page[TokenDoc]:
    """A user's API tokens."""
    return (await service.tokens(ctx, user_id, paging)).presented(TokenDoc)


@get("/authentication-tokens/{token_id:str}")
async def token(ctx: Ctx, token_id: FromPath[str]) -> TokenDoc:
    """A token, without its text."""
    return present(await service.token(ctx, token_id), TokenDoc)


@delete("/authentication-tokens/{token_id:str}")
async def delete_token(ctx: Ctx, token_id: FromPath[str]) -> None:
    """Revoke a token."""
    await service.delete_token(ctx, token_id)


ROUTES = [account, create_token, tokens, token, delete_token]
