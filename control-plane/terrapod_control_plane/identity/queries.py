"""SQL of users and tokens."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from terrapod_control_plane.identity.model import Token, TokenKind, User
from terrapod_control_plane.identity.tables import Tokens, Users
from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Scope, Where
from terrapod_control_plane.kernel.repository import Repository

USERS = Repository(Users, User)
TOKENS = Repository(Tokens, Token)


async def user_scope(id_: str) -> Scope | None:
    """A user is a scope of their own."""
    found = await db.value("select id from users where id = $1", id_)
    return Scope(where=Where.USER, id=found) if found else None


async def token_scope(id_: str) -> Scope | None:
    """A token belongs to its user, or to a pool, which is nobody but the administrators."""
    found = await db.value("select subject_id from tokens where id = $1", id_)
    return Scope(where=Where.USER, id=found) if found else None


class TokenHolder(Struct, frozen=True):
    """The user behind a token, with what the token needs to be judged by."""

    token: str
    last_used_at: datetime | None
    expires_at: datetime | None
    id: str
    username: str
    email: str
    roles: list[str]


_HOLDER = """
select t.id as token, t.last_used_at, t.expires_at, u.id, u.username, u.email, u.roles
from tokens t join users u on u.id = t.subject_id
where t.digest = $1 and t.kind = 'user' and u.is_active
  and (t.expires_at is null or t.expires_at > $2)
"""


async def holder(digest: bytes, now: datetime) -> TokenHolder | None:
    """The active user whose token this is."""
    return await db.one(TokenHolder, _HOLDER, digest, now)


async def touch(token: str, now: datetime) -> None:
    """Note that a token was used."""
    await db.execute("update tokens set last_used_at = $2 where id = $1", token, now)


_USE = f"""
update tokens set uses = uses + 1, last_used_at = $2
where digest = $1 and kind = 'join' and (expires_at is null or expires_at > $2)
  and (uses_at_most is null or uses < uses_at_most)
returning {TOKENS.columns}
"""


async def use(digest: bytes, now: datetime) -> Token | None:
    """Count one use of a join token, if it still has one."""
    return await TOKENS.one(_USE, digest, now)


async def user(id_: str) -> User | None:
    """A user by id."""
    return await USERS.get(id_)


async def users(ids: Sequence[str]) -> list[User]:
    """Users by their ids."""
    return await USERS.many(ids)


async def any_user() -> bool:
    """Whether anybody exists yet."""
    return bool(await db.value("select exists (select from users)"))


async def insert_user(new: User) -> None:
    """Store a user."""
    await USERS.insert(new)


async def insert_token(new: Token) -> None:
    """Store a token."""
    await TOKENS.insert(new)


async def token(id_: str) -> Token | None:
    """A token by id."""
    return await TOKENS.get(id_)


async def tokens_of(subject: str, kind: TokenKind, paging: Paging) -> Page[Token]:
    """The tokens of a user or a pool, newest first."""
    where, order = "subject_id = $1 and kind = $2", "created_at desc, id"
    return await TOKENS.page(where, subject, kind, order=order, paging=paging)


async def delete_token(id_: str) -> None:
    """Remove a token."""
    await TOKENS.delete(id_)


async def delete_tokens_of(subject: str) -> None:
    """Remove all tokens of a user or a pool."""
    await db.execute("delete from tokens where subject_id = $1", subject)
