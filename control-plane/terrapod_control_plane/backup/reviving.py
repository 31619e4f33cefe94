"""What a restored database must not bring back to life, and what it does bring back."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from terrapod_control_plane.kernel import db, epochs, ids, outbox
from terrapod_control_plane.kernel.crypto import keys
from terrapod_control_plane.runs.recovery import events as recovery_events

REASON = "it was restored from a backup of"


class Alive(Struct, frozen=True, kw_only=True):
    """A credential that is good again, whatever was done to it after the backup."""

    id: str
    what: str
    since: datetime


class Revived(Struct, frozen=True, kw_only=True):
    """What the restore has ended, and what lives again."""

    epoch: int
    tokens: Sequence[Alive]
    agents: Sequence[Alive]
    join_tokens: int  # were ended
    admin: str | None  # the e-mail of the administrator that got a new token
    admin_token: str


_TOKENS = """
select t.id, u.email || case when t.description = '' then '' else ': ' || t.description end
    as what, t.created_at as since
from tokens t join users u on u.id = t.subject_id
where t.kind = 'user' and (t.expires_at is null or t.expires_at > $1) order by t.created_at
"""
_AGENTS = """
select l.id, l.name || ' of the pool ' || p.name as what, l.created_at as since
from listeners l join agent_pools p on p.id = l.pool_id
where l.revoked_at is null order by p.name, l.name
"""
_ADMIN = (
    "select id, email from users where is_active and 'admin' = any(roles) "
    "order by created_at limit 1"
)
_MINT = """
insert into tokens (id, kind, subject_id, description, digest, created_by, created_at, uses)
values ($1, 'user', $2, 'made by terrapod restore', $3, null, $4, 0)
"""


async def settle(now: datetime, made_at: datetime, *, revoke_tokens: bool) -> Revived:
    """Begin a new epoch, paused; end what lets new machines in; list what lives again."""
    async with db.transaction():
        epoch = await epochs.begin(now)
        await epochs.go_on()  # from a pause that the backup was made in; this one says more
        await epochs.pause(now, f"{REASON} {made_at:%Y-%m-%d %H:%M:%S} UTC")
        joins = await db.execute("delete from tokens where kind = 'join'")
        if revoke_tokens:
            await db.execute("delete from tokens where kind = 'user'")
        tokens = await _alive(_TOKENS, now)
        agents = await _alive(_AGENTS)
        admin = await db.row(_ADMIN)
        text = keys.new_token("user")
        if admin is not None:
            made = (ids.new("at"), admin["id"], keys.digest(text), now)
            await db.execute(_MINT, *made)
        who = ("system", "", "terrapod restore", ids.new("re"))
        await outbox.store(recovery_events.Restored(epoch=epoch, made_at=made_at), now, *who)
    return Revived(
        epoch=epoch,
        tokens=tokens,
        agents=agents,
        join_tokens=joins,
        admin=admin["email"] if admin else None,
        admin_token=text,
    )


async def _alive(sql: str, *args: Any) -> list[Alive]:
    return [Alive(**row) for row in await db.rows(sql, *args)]
