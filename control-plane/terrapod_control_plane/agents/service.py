"""Use cases of pools and listeners, as operators see them."""

from datetime import datetime, timedelta

from terrapod_control_plane.agents import internal, model, queries
from terrapod_control_plane.agents.actions import (
    JOIN_TOKEN_MANAGE,
    JOIN_TOKEN_READ,
    LISTENER_MANAGE,
    LISTENER_READ,
    POOL_MANAGE,
    POOL_READ,
)
from terrapod_control_plane.agents.events import ListenerRevoked, PoolCreated, PoolDeleted
from terrapod_control_plane.agents.model import Listener, Pool
from terrapod_control_plane.identity import internal as identity
from terrapod_control_plane.identity.model import Minted, Token
from terrapod_control_plane.kernel import db, ids
from terrapod_control_plane.kernel.context import Context, system
from terrapod_control_plane.kernel.errors import Conflict, NotFound, Unprocessable
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.organizations import internal as organizations
from terrapod_control_plane.runs.phases.leases import internal as leases
from terrapod_control_plane.runs.pools import internal as run_pools
from terrapod_control_plane.workspaces import internal as workspaces


async def create_pool(ctx: Context, name: str, service_account_name: str) -> Pool:
    """A new pool; the first one becomes the default of the organization."""
    await ctx.must(POOL_MANAGE)
    new = Pool(
        id=ids.new("apool"),
        name=model.checked_name(name),
        service_account_name=service_account_name,
        created_at=ctx.now(),
    )
    try:
        async with db.transaction():
            await queries.insert_pool(new)
            # Workspaces before the organization, as whoever makes a run locks them.
            if await organizations.default_pool_now(ctx) is None:
                await run_pools.pool_created(ctx, new.id)
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
            await run_pools.pool_created(ctx, pool)


async def pools(ctx: Context, search: str, paging: Paging) -> Page[Pool]:
    """Pools by name."""
    await ctx.must(POOL_READ)
    return await queries.pools(search, internal.online_since(ctx), paging)


async def pool(ctx: Context, id_: str) -> Pool:
    """A pool."""
    await ctx.must(POOL_READ, id_)
    found = await queries.pool(id_, internal.online_since(ctx))
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


async def delete_pool(ctx: Context, id_: str, move_to: str | None = None) -> None:
    """Remove a pool; its agents are out at once, its tokens of no use.

    Workspaces that name it, and runs that wait for it, go to the pool that is said. Nothing goes
    anywhere unsaid: runs carry secrets, and another pool has other agents.
    """
    await ctx.must(POOL_MANAGE, id_)
    if move_to is not None:
        await ctx.must(POOL_MANAGE, move_to)
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
    await workspaces.leave_pool(ctx, id_, move_to)
    if heir is not None:
        await run_pools.pool_left(ctx, id_, heir)
    # After the workspaces, which a run that is made just now holds while it asks for the default.
    await organizations.pool_left(ctx, id_, heir)
    if await run_pools.any_open_in(ctx, id_):
        raise Conflict("Runs still wait for this pool: let them end, or say where they move to.")
    if await run_pools.busy_among(ctx, await queries.listener_ids(id_)):
        raise Conflict("Agents of this pool carry out runs: cancel them or let them end first.")


async def create_token(
    ctx: Context, pool_id: str, description: str, ends: datetime | None, uses: int | None
) -> Minted:
    """A new join token of a pool."""
    await ctx.must(JOIN_TOKEN_MANAGE, pool_id)
    ends = ends or ctx.now() + timedelta(days=ctx.settings.agents.join_token_days)
    return await identity.mint(
        ctx, "join", pool_id, description, expires_at=ends, uses_at_most=uses
    )


async def tokens(ctx: Context, pool_id: str, paging: Paging) -> Page[Token]:
    """The join tokens of a pool."""
    await ctx.must(JOIN_TOKEN_READ, pool_id)
    return await identity.join_tokens(ctx, pool_id, paging)


async def listeners(ctx: Context, pool_id: str, paging: Paging) -> Page[Listener]:
    """The agents of a pool."""
    await ctx.must(LISTENER_READ, pool_id)
    return await queries.listeners(pool_id, paging)


async def revoke(ctx: Context, pool_id: str, listener_id: str) -> None:
    """Shut an agent out: its next request is refused, what it held is lost."""
    await ctx.must(LISTENER_MANAGE, pool_id)
    async with db.transaction():
        found = await queries.listener(listener_id)
        if found is None or found.pool_id != pool_id:
            raise NotFound(f"There is no {listener_id} in this pool.")
        await queries.revoke(listener_id, ctx.now())
        await leases.let_go(ctx, listener_id)
        await ctx.emit(ListenerRevoked(listener=listener_id))
    await leases.settle(system(ctx.services), listener_id)
