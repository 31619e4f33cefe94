"""Use cases of pools and listeners, as operators see them."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from terrapod_control_plane.agents import queries
from terrapod_control_plane.agents.events import ListenerRevoked, PoolCreated, PoolDeleted
from terrapod_control_plane.agents.model import Listener, Pool
from terrapod_control_plane.identity import service as identity
from terrapod_control_plane.identity.service import Minted, Token
from terrapod_control_plane.kernel import db, ids
from terrapod_control_plane.kernel.context import Context, PoolSeen, internal, system
from terrapod_control_plane.kernel.crypto.authority import fingerprint
from terrapod_control_plane.kernel.errors import Conflict, NotFound, Unprocessable
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Action, Actor
from terrapod_control_plane.organizations import service as organizations
from terrapod_control_plane.runs import service as runs
from terrapod_control_plane.runs.work import service as work
from terrapod_control_plane.workspaces.of_pools import service as workspaces

_SEEN_FOR = 1.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,89}")


def checked_name(name: str) -> str:
    """A name of a pool or listener; raises :class:`Unprocessable`."""
    if not _NAME.fullmatch(name):
        raise Unprocessable(
            "A name has 1 to 90 letters, digits, dots, dashes and underscores.",
            pointer="/data/attributes/name",
        )
    return name


@internal
async def actor_of(certificate: bytes, now: datetime) -> Actor | None:
    """The listener that a client certificate (DER) was issued to, unless revoked or ended."""
    print_ = fingerprint(certificate)
    found = await queries.holder(print_, now)
    if found is None:
        return None
    return Actor(
        kind="listener", id=found.id, name=found.name, pool=found.pool_id, credential=print_
    )


def _online_since(ctx: Context) -> datetime:
    return ctx.now() - timedelta(seconds=ctx.settings.agents.offline_after_seconds)


async def create_pool(ctx: Context, name: str, service_account_name: str) -> Pool:
    """A new pool; the first one becomes the default of the organization."""
    await ctx.must(Action.POOL_MANAGE)
    new = Pool(
        id=ids.new("apool"),
        name=checked_name(name),
        service_account_name=service_account_name,
        created_at=ctx.now(),
    )
    try:
        async with db.transaction():
            await queries.insert_pool(new)
            # Workspaces before the organization, as whoever makes a run locks them.
            if await organizations.default_pool_now(ctx) is None:
                await runs.pool_created(ctx, new.id)
            await organizations.pool_created(ctx, new.id)
            await ctx.emit(PoolCreated(pool=new.id, name=new.name))
    except db.Duplicate:
        raise Conflict(f"There is a pool {name} already.") from None
    await _take_late_comers(ctx, new.id)
    return new


async def _take_late_comers(ctx: Context, pool: str) -> None:
    """Runs that were made while their default pool was, and did not see it."""
    async with db.transaction():
        await queries.lock_pool(pool)
        if await organizations.default_pool_now(ctx) == pool:
            await runs.pool_created(ctx, pool)


async def pools(ctx: Context, search: str, paging: Paging) -> Page[Pool]:
    """Pools by name."""
    await ctx.must(Action.POOL_READ)
    return await queries.pools(search, _online_since(ctx), paging)


async def pool(ctx: Context, id_: str) -> Pool:
    """A pool."""
    await ctx.must(Action.POOL_READ, id_)
    found = await queries.pool(id_, _online_since(ctx))
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


@internal
async def pools_seen(ctx: Context, wanted: Sequence[str]) -> Mapping[str, PoolSeen]:
    """What pools can do now, or could a second ago, by their ids; for runs that wait for them."""
    store, seen = ctx.services.ephemeral, {}
    for id_ in wanted:
        if (found := await store.get(f"pool-seen:{id_}")) is not None:
            seen[id_] = msgspec.json.decode(found, type=PoolSeen)
    if missing := [id_ for id_ in wanted if id_ not in seen]:
        fresh = await queries.pools_seen(missing, _online_since(ctx))
        for id_, pool in fresh.items():
            await store.set(f"pool-seen:{id_}", msgspec.json.encode(pool), _SEEN_FOR)
        seen |= fresh
    return seen


@internal
async def names(ctx: Context, wanted: Sequence[str]) -> Mapping[str, str]:
    """The names of agents, by their ids; for whoever may see a run that they carry out."""
    return await queries.names(wanted)


async def delete_pool(ctx: Context, id_: str, move_to: str | None = None) -> None:
    """Remove a pool; its agents are out at once, its tokens of no use.

    Workspaces that name it, and runs that wait for it, go to the pool that is said. Nothing goes
    anywhere unsaid: runs carry secrets, and another pool has other agents.
    """
    await ctx.must(Action.POOL_MANAGE, id_)
    if move_to is not None:
        await ctx.must(Action.POOL_MANAGE, move_to)
    if move_to == id_:
        raise Unprocessable("The pool can't move to itself.", pointer="move-to")
    try:
        async with db.transaction():
            await identity.forget_tokens_of(ctx, id_)  # first, as who joins uses up a token first
            await queries.lock_pool(id_, *([move_to] if move_to else []))
            await _empty(ctx, id_, move_to)
            await queries.delete_pool(id_)
            await ctx.emit(PoolDeleted(pool=id_, moved_to=move_to))
    except db.Missing:
        raise Conflict("A workspace was given this pool just now; try again.") from None


async def _empty(ctx: Context, id_: str, move_to: str | None) -> None:
    """Let everything go elsewhere that names a pool or waits for it; or refuse."""
    heir = move_to
    if heir is None and await organizations.default_pool_now(ctx) == id_:
        others = await queries.other_pools(id_)
        if len(others) > 1:
            raise Conflict("This is the default pool: say which pool takes its place.")
        heir = others[0] if others else None
    await workspaces.leave(ctx, id_, move_to)
    if heir is not None:
        await runs.pool_left(ctx, id_, heir)
    # After the workspaces, which a run that is made just now holds while it asks for the default.
    await organizations.pool_left(ctx, id_, heir)
    if await runs.any_open_in(ctx, id_):
        raise Conflict("Runs still wait for this pool: let them end, or say where they move to.")
    if await runs.busy_among(ctx, await queries.listener_ids(id_)):
        raise Conflict("Agents of this pool carry out runs: cancel them or let them end first.")


async def create_token(
    ctx: Context, pool_id: str, description: str, ends: datetime | None, uses: int | None
) -> Minted:
    """A new join token of a pool."""
    await ctx.must(Action.JOIN_TOKEN_MANAGE, pool_id)
    ends = ends or ctx.now() + timedelta(days=ctx.settings.agents.join_token_days)
    return await identity.mint(
        ctx, "join", pool_id, description, expires_at=ends, uses_at_most=uses
    )


async def tokens(ctx: Context, pool_id: str, paging: Paging) -> Page[Token]:
    """The join tokens of a pool."""
    await ctx.must(Action.JOIN_TOKEN_READ, pool_id)
    return await identity.join_tokens(ctx, pool_id, paging)


async def listeners(ctx: Context, pool_id: str, paging: Paging) -> Page[Listener]:
    """The agents of a pool."""
    await ctx.must(Action.LISTENER_READ, pool_id)
    return await queries.listeners(pool_id, paging)


async def revoke(ctx: Context, pool_id: str, listener_id: str) -> None:
    """Shut an agent out: its next request is refused, what it held is lost."""
    await ctx.must(Action.LISTENER_MANAGE, pool_id)
    async with db.transaction():
        found = await queries.listener(listener_id)
        if found is None or found.pool_id != pool_id:
            raise NotFound(f"There is no {listener_id} in this pool.")
        await queries.revoke(listener_id, ctx.now())
        await work.let_go(ctx, listener_id)
        await ctx.emit(ListenerRevoked(listener=listener_id))
    await work.settle(system(ctx.services), listener_id)
