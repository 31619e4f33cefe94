"""Accounts and tokens, for other slices and jobs."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from terrapod_common.agent_protocol import Code
from terrapod_control_plane.identity import queries
from terrapod_control_plane.identity.events import TokenCreated, UserCreated
from terrapod_control_plane.identity.model import Minted, Token, TokenKind, User
from terrapod_control_plane.kernel import db, ids
from terrapod_control_plane.kernel.caches import Credential
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.crypto import keys
from terrapod_control_plane.kernel.errors import Unauthorized, Unprocessable
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Actor, Scope

_USED_EVERY = timedelta(minutes=1)


async def holder(digest: bytes, now: datetime) -> Credential | None:
    """Whoever holds the token with this digest, if it is valid and its user active."""
    found = await queries.holder(digest, now)
    if found is None:
        return None
    used = found.last_used_at
    if used is None or now - used > _USED_EVERY:
        await queries.touch(found.token, now)
        used = now
    # To be looked up again when its use is to be noted again, which another process may have done.
    ends = [used + _USED_EVERY, *([found.expires_at] if found.expires_at else [])]
    actor = Actor(
        kind="user",
        id=found.id,
        name=found.username,
        email=found.email,
        roles=frozenset(found.roles),
    )
    return Credential(actor=actor, until=min(ends))


async def users(ctx: Context, wanted: Sequence[str]) -> list[User]:
    """Users by their ids; whoever may see an object may see who made it."""
    return await queries.users(wanted)


async def create_user(ctx: Context, email: str, *, roles: Sequence[str] = ()) -> User:
    """Store a new active user."""
    new = User(
        id=ids.new("user"),
        email=email,
        username=email,
        is_active=True,
        is_service_account=False,
        roles=list(roles),
        created_at=ctx.now(),
    )
    async with db.transaction():
        await queries.insert_user(new)
        await ctx.emit(UserCreated(user=new.id, email=email))
    return new


async def first_admin(ctx: Context, email: str, keep: Callable[[str], None]) -> str | None:
    """The token of a new administrator, when nobody exists yet.

    ``keep`` puts it in a safe place before it counts, for only its hash is stored here.
    """
    async with db.transaction():
        if await queries.any_user():
            return None
        admin = await create_user(ctx, email, roles=["admin"])
        minted = await mint(ctx, "user", admin.id, "made at first start")
        keep(minted.text)
    return minted.text


async def mint(
    ctx: Context,
    kind: TokenKind,
    subject: str,
    description: str,
    *,
    expires_at: datetime | None = None,
    uses_at_most: int | None = None,
) -> Minted:
    """Make a token for a user or a pool."""
    if expires_at is not None and expires_at <= ctx.now():
        raise Unprocessable("expired-at lies in the past", pointer="/data/attributes/expired-at")
    if uses_at_most is not None and uses_at_most < 1:
        raise Unprocessable("max-uses is at least 1", pointer="/data/attributes/max-uses")
    text = keys.new_token(kind)
    stored = Token(
        id=ids.new("at"),
        kind=kind,
        subject_id=subject,
        description=description,
        digest=keys.digest(text),
        created_by=ctx.actor.id or None,
        created_at=ctx.now(),
        expires_at=expires_at,
        uses_at_most=uses_at_most,
    )
    async with db.transaction():
        await queries.insert_token(stored)
        await ctx.emit(TokenCreated(token=stored.id, of=subject))
    return Minted(stored=stored, text=text)


async def join_tokens(ctx: Context, pool: str, paging: Paging) -> Page[Token]:
    """The join tokens of a pool."""
    return await queries.tokens_of(pool, "join", paging)


async def use_join_token(ctx: Context, text: str) -> Token:
    """Count one use of a join token; raises :class:`Unauthorized` when it has none left."""
    used = await queries.use(keys.digest(text), ctx.now())
    if used is None:
        told = "This join token is not known, has expired, was revoked or is used up."
        raise Unauthorized(told, code=Code.JOINING)
    return used


async def forget_tokens_of(ctx: Context, subject: str) -> None:
    """Remove all tokens of a user or pool that is going away."""
    await queries.delete_tokens_of(subject)


async def user_scope(id_: str) -> Scope | None:
    """What permission on a user is asked on."""
    return await queries.user_scope(id_)


async def token_scope(id_: str) -> Scope | None:
    """What permission on a token is asked on."""
    return await queries.token_scope(id_)
