"""What a listener does all day: beat, take work, follow orders. Every call is its own only."""

from collections.abc import AsyncIterator
from functools import partial

import anyio

from terrapod_common import wire
from terrapod_control_plane.agent_api import internal
from terrapod_control_plane.agent_api.model import Named, Slot
from terrapod_control_plane.agents import internal as agents
from terrapod_control_plane.agents.actions import LISTENER_ACT
from terrapod_control_plane.kernel import ids
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.runs.model import Phase
from terrapod_control_plane.runs.phases.artifacts import internal as artifacts
from terrapod_control_plane.runs.phases.leases import internal as leases
from terrapod_control_plane.runs.phases.leases.model import Claimer, LeaseRef
from terrapod_control_plane.runs.recovery import internal as recovery

_LONGEST_PATH = 4096


async def heartbeat(ctx: Context, listener: str, said: wire.Heartbeat) -> wire.HeartbeatAnswer:
    """Note that the agent lives, renew what it holds, tell it what it has lost."""
    await ctx.must(LISTENER_ACT, listener)
    await agents.seen(ctx, listener, said)
    if said.dropped:
        await leases.dropped(ctx, listener, said.dropped)
    if said.kept is not None:
        await leases.returned(ctx, listener, said.kept)
    renewed = await leases.renew(ctx, listener, said.holding)
    lost = [held for held in said.holding if held.phase_id not in renewed]
    await recovery.shown_by_agent(ctx, listener, lost)
    settings = ctx.settings.agents
    busy = bool(said.holding)
    return wire.HeartbeatAnswer(
        every_seconds=settings.beat_busy_seconds if busy else settings.beat_idle_seconds,
        leases=renewed,
        lost=[held.phase_id for held in lost],
        # An order is about a phase that the agent holds.
        orders=await leases.orders(ctx, listener) if busy else [],
    )


async def orders(ctx: Context, listener: str, wait: float, seen: str) -> wire.Orders:
    """The orders that stand; at once when they are not those that the agent has seen."""
    await ctx.must(LISTENER_ACT, listener)

    async def attempt() -> wire.Orders | None:
        found = await leases.orders(ctx, listener)
        return wire.Orders(orders=found) if wire.orders_fingerprint(found) != seen else None

    wait = min(wait, ctx.settings.agents.longest_wait_seconds)
    found = await ctx.services.bus.first(f"orders:{listener}", attempt, wait)
    return found or wire.Orders(orders=await leases.orders(ctx, listener))


async def next_work(ctx: Context, listener: str, slot: Slot, wait: float) -> wire.NextWork | None:
    """A phase for an idle slot or an order for its agent, or nothing when neither came in time."""
    await ctx.must(LISTENER_ACT, listener)
    claimer = Claimer(
        listener=listener,
        pool=ctx.actor.pool,
        slot=slot.number,
        # Without a key a lost answer cannot be asked again, but every question is its own.
        key=slot.key[:100] or ids.new("re"),
        accept=slot.kinds,
        root=slot.root.replace("\0", "")[:_LONGEST_PATH] or None,
    )
    wait = min(wait, ctx.settings.agents.longest_wait_seconds)
    found: Phase | wire.Orders | None = None
    # Who asks again has given up the question before; without a number a slot is any slot.
    asker = f"{listener} {slot.number if slot.number >= 0 else claimer.key}"
    with ctx.services.bus.alone(asker):
        found = await _claimed_or_ordered(ctx, claimer, wait, slot.seen)
    if found is None:
        return None
    if isinstance(found, wire.Orders):
        return wire.NextWork(orders=found.orders, drain=found.drain)
    return wire.NextWork(
        work=await internal.work_of_phase(ctx, found, await agents.platform(ctx, listener))
    )


async def _claimed_or_ordered(
    ctx: Context, claimer: Claimer, wait: float, seen: str
) -> Phase | wire.Orders | None:
    deadline, still = anyio.current_time() + wait, partial(agents.must_be_welcome, ctx)
    if not seen:
        return await leases.claim(ctx, claimer, wait, still)
    woken = False
    while True:
        # Not looked at before a wake-up: an idle agent holds nothing that has orders already.
        with ctx.services.bus.until(f"orders:{claimer.listener}"):
            if woken:
                found = await leases.orders(ctx, claimer.listener)
                if wire.orders_fingerprint(found) != seen:
                    return wire.Orders(orders=found)
            return await leases.claim(ctx, claimer, deadline - anyio.current_time(), still)
        woken = True


async def report(ctx: Context, listener: str, run: str, said: wire.Report) -> wire.Reported:
    """A change of a phase."""
    await ctx.must(LISTENER_ACT, listener)
    answer = await leases.report(ctx, listener, run, said)
    if said.status == "applying":
        await recovery.mark_start(ctx, listener, run)
    return answer


async def append_log(ctx: Context, lease: LeaseRef, offset: int, data: bytes) -> wire.LogAnswer:
    """Bytes of a log at an offset."""
    await ctx.must(LISTENER_ACT, lease.listener)
    return await artifacts.append_log(ctx, lease, offset, data)


async def configuration(ctx: Context, lease: LeaseRef) -> AsyncIterator[bytes]:
    """The configuration archive."""
    await ctx.must(LISTENER_ACT, lease.listener)
    return await artifacts.configuration(ctx, await leases.held(ctx, lease))


async def state(ctx: Context, lease: LeaseRef) -> AsyncIterator[bytes] | None:
    """The current state, or nothing when there never was one."""
    await ctx.must(LISTENER_ACT, lease.listener)
    return await artifacts.state(ctx, await leases.held(ctx, lease))


async def save_state(
    ctx: Context, lease: LeaseRef, body: AsyncIterator[bytes], *, final: bool
) -> wire.StoredAnswer:
    """A state that the apply reached."""
    await ctx.must(LISTENER_ACT, lease.listener)
    return await artifacts.save_state(ctx, await leases.held(ctx, lease), body, final=final)


async def recover_state(
    ctx: Context, lease: LeaseRef, body: AsyncIterator[bytes]
) -> wire.StoredAnswer:
    """The state of an apply whose lease ended while it ran."""
    await ctx.must(LISTENER_ACT, lease.listener)
    return await artifacts.recover_state(ctx, lease, body)


async def late_log(ctx: Context, lease: LeaseRef, offset: int, data: bytes) -> wire.LogAnswer:
    """The rest of the log of an apply that was given up."""
    await ctx.must(LISTENER_ACT, lease.listener)
    return await leases.late_log(ctx, lease, offset, data)


async def late_result(
    ctx: Context, lease: LeaseRef, said: wire.LateResult
) -> wire.LateResultAnswer:
    """What became of an apply that was given up."""
    await ctx.must(LISTENER_ACT, lease.listener)
    return await leases.late_result(ctx, lease, said)


async def save_artifact(
    ctx: Context, lease: LeaseRef, named: Named, body: AsyncIterator[bytes]
) -> wire.StoredAnswer:
    """Something the plan leaves for its apply."""
    await ctx.must(LISTENER_ACT, lease.listener)
    phase = await leases.held(ctx, lease)
    return await artifacts.save_artifact(ctx, phase, named.name, named.digest, body)


async def artifact(ctx: Context, lease: LeaseRef, name: str) -> AsyncIterator[bytes]:
    """What the plan of this apply left."""
    await ctx.must(LISTENER_ACT, lease.listener)
    return await artifacts.artifact(ctx, await leases.held(ctx, lease), name)
