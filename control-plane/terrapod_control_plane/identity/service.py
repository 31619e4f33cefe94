"""Use cases of users and tokens."""

from datetime import datetime

from terrapod_control_plane.identity import internal, queries
from terrapod_control_plane.identity.actions import ACCOUNT_READ, TOKEN_MANAGE, TOKEN_READ
from terrapod_control_plane.identity.events import TokenDeleted
from terrapod_control_plane.identity.model import Minted, Token, User
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.kernel.pages import Page, Paging


async def account(ctx: Context) -> User:
    """The caller's own user."""
    await ctx.must(ACCOUNT_READ)
    return await _user(ctx.actor.id)


async def _user(id_: str) -> User:
    found = await queries.user(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


async def create_token(
    ctx: Context, user: str, description: str, expires_at: datetime | None
) -> Minted:
    """A new API token for a user."""
    await ctx.must(TOKEN_MANAGE, user)
    return await internal.mint(ctx, "user", user, description, expires_at=expires_at)


async def tokens(ctx: Context, user: str, paging: Paging) -> Page[Token]:
    """A user's API tokens."""
    await ctx.must(TOKEN_READ, user)
    return await queries.tokens_of(user, "user", paging)


async def token(ctx: Context, id_: str) -> Token:
    """A token, without its text."""
    await ctx.must(TOKEN_READ, id_)
    found = await queries.token(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


async def delete_token(ctx: Context, id_: str) -> None:
    """Revoke a token; it is of no use from the next request on."""
    await ctx.must(TOKEN_MANAGE, id_)
    async with db.transaction():
        found = await queries.token(id_)
        if found is not None:
            await queries.delete_token(id_)
            await ctx.emit(TokenDeleted(token=id_, of=found.subject_id))
