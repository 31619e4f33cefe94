"""SQL of pools and listeners."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from terrapod_common.wire import Heartbeat
from terrapod_control_plane.agents.model import Certificate, Listener, Pool
from terrapod_control_plane.agents.tables import Certificates, Listeners, Pools
from terrapod_control_plane.kernel import db, unit_of_work
from terrapod_control_plane.kernel.context import PoolSeen
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import PLATFORM, Scope, Where
from terrapod_control_plane.kernel.repository import Repository

POOLS = Repository(Pools, Pool, computed=["agent_count"])
LISTENERS = Repository(Listeners, Listener)
CERTIFICATES = Repository(Certificates, Certificate)

_AGENT_COUNT = """
(select count(*) from listeners l where l.pool_id = agent_pools.id
    and l.revoked_at is null and l.last_seen_at > $2)::int as agent_count
"""
_POOL = f"select {POOLS.columns}, {_AGENT_COUNT} from agent_pools where id = $1"


async def pool_scope(id_: str) -> Scope | None:
    """Pools are a matter of the platform."""
    return PLATFORM if await db.value("select id from agent_pools where id = $1", id_) else None


async def listener_scope(id_: str) -> Scope | None:
    """A listener is a scope of its own."""
    found = await db.value("select id from listeners where id = $1", id_)
    return Scope(where=Where.LISTENER, id=found) if found else None


async def insert_pool(new: Pool) -> None:
    """Store a pool."""
    await POOLS.insert(new)


async def pool(id_: str, online_since: datetime) -> Pool | None:
    """A pool by id."""
    return await POOLS.one(_POOL, id_, online_since)


async def lock_pool(*ids: str) -> None:
    """Let nobody else join or delete these pools until the end of the transaction."""
    sql = "select id from agent_pools where id = any($1) order by id for no key update"
    await db.execute(sql, ids)


async def other_pools(id_: str) -> list[str]:
    """Two of the other pools, if there are so many."""
    rows = await db.rows("select id from agent_pools where id <> $1 limit 2", id_)
    return [row["id"] for row in rows]


async def listener_ids(pool_id: str) -> list[str]:
    """The listeners of a pool."""
    rows = await db.rows("select id from listeners where pool_id = $1", pool_id)
    return [row["id"] for row in rows]


async def pools(search: str, online_since: datetime, paging: Paging) -> Page[Pool]:
    """Pools by name."""
    return await POOLS.page(
        "position(lower($1) in lower(name)) > 0",
        search,
        online_since,
        order="name",
        paging=paging,
        also=_AGENT_COUNT,
    )


_SEEN = """
select p.id, p.name, max(l.last_seen_at) as last_seen, coalesce(sum(l.slots) filter
    (where l.last_seen_at > $2 and l.revoked_at is null and not l.draining and l.trouble = ''),
    0)::int as slots,
    coalesce(min(l.name || ' takes no work: ' || l.trouble)
    filter (where l.last_seen_at > $2 and l.revoked_at is null and l.trouble <> ''), '') as trouble,
    coalesce(array_agg(distinct coalesce(l.root, '')) filter
    (where l.last_seen_at > $2 and l.revoked_at is null and not l.draining and l.trouble = ''),
    '{}') as roots
from agent_pools p left join listeners l on l.pool_id = p.id
where p.id = any($1) group by p.id
"""


async def pools_seen(ids: Sequence[str], online_since: datetime) -> dict[str, PoolSeen]:
    """What pools can do now."""
    rows = await db.rows(_SEEN, ids, online_since)
    return {
        row["id"]: PoolSeen(
            name=row["name"],
            slots=row["slots"],
            last_seen=row["last_seen"],
            trouble=row["trouble"],
            roots=tuple(row["roots"]),
        )
        for row in rows
    }


async def names(ids: Sequence[str]) -> dict[str, str]:
    """The names of listeners."""
    rows = await db.rows("select id, name from listeners where id = any($1)", ids)
    return {row["id"]: row["name"] for row in rows}


async def delete_pool(id_: str) -> None:
    """Remove a pool and its listeners."""
    await db.execute("delete from agent_pools where id = $1", id_)


async def listener(id_: str) -> Listener | None:
    """A listener by id."""
    return await LISTENERS.get(id_)


async def locked_listener(id_: str) -> Listener | None:
    """A listener by id, locked until the end of the transaction."""
    return await unit_of_work.lock(LISTENERS, id_)


async def listeners(pool_id: str, paging: Paging) -> Page[Listener]:
    """The listeners of a pool, by name."""
    return await LISTENERS.page("pool_id = $1", pool_id, order="name", paging=paging)


async def named(pool_id: str, name: str) -> Listener | None:
    """The listener of that name, locked; names are unique in a pool."""
    found = await LISTENERS.first("pool_id = $1 and name = $2 for update", pool_id, name)
    return None if found is None else unit_of_work.adopt(LISTENERS, found)


async def insert_listener(new: Listener) -> None:
    """Store a listener."""
    await LISTENERS.insert(new)


async def rejoined(id_: str, public_key: str, version: str) -> None:
    """A name was taken over by a new key; every certificate before is revoked."""
    await db.execute(
        "update listeners set public_key = $2, version = $3, revoked_at = null, draining = false "
        "where id = $1",
        id_,
        public_key,
        version,
    )


async def revoke_certificates(listener_id: str, now: datetime) -> None:
    """End every certificate of a listener."""
    sql = "update certificates set revoked_at = $2 where listener_id = $1 and revoked_at is null"
    await db.execute(sql, listener_id, now)


async def revoke(listener_id: str, now: datetime) -> None:
    """Shut a listener out."""
    await db.execute("update listeners set revoked_at = $2 where id = $1", listener_id, now)
    await revoke_certificates(listener_id, now)


async def insert_certificate(new: Certificate) -> None:
    """Store a certificate."""
    await CERTIFICATES.insert(new)


class CertificateHolder(Struct, frozen=True):
    """The listener behind a certificate, and when that ends."""

    id: str
    name: str
    pool_id: str
    not_after: datetime


_HOLDER = """
select l.id, l.name, l.pool_id, c.not_after
from certificates c join listeners l on l.id = c.listener_id
where c.fingerprint = $1 and c.revoked_at is null and l.revoked_at is null and c.not_after > $2
"""


async def holder(fingerprint: str, now: datetime) -> CertificateHolder | None:
    """Whose certificate this is, if it counts."""
    return await db.one(CertificateHolder, _HOLDER, fingerprint, now)


async def newest_certificate(listener_id: str) -> Certificate | None:
    """The certificate of a listener that ends last."""
    where = "listener_id = $1 order by not_after desc limit 1"
    return await CERTIFICATES.first(where, listener_id)


_ENDED = """
delete from certificates where fingerprint = any(array(
    select fingerprint from certificates where not_after < $1 order by not_after limit $2))
returning listener_id
"""


async def forget_certificates(before: datetime, at_most: int) -> list[str]:
    """Remove certificates that ended before then; of which listeners they were."""
    return [row["listener_id"] for row in await db.rows(_ENDED, before, at_most)]


_GONE = f"""
delete from listeners l where id = any($1)
  and not exists (select from certificates c where c.listener_id = l.id)
returning {LISTENERS.columns}
"""


async def forget_listeners(ids: Sequence[str]) -> list[Listener]:
    """Remove those of the listeners that have no certificate any more."""
    return await LISTENERS.all(_GONE, ids)


async def seen(listener_id: str, beat: Heartbeat, now: datetime) -> None:
    """Note a beat."""
    await db.execute(
        "update listeners set last_seen_at = $2, version = $3, platform = $4, slots = $5, "
        "draining = $6, trouble = $7, root = $8 where id = $1",
        listener_id,
        now,
        beat.version[:100],
        beat.platform[:100],
        beat.slots,
        beat.draining,
        beat.trouble,
        beat.root.replace("\0", "")[:4096] or None,
    )
