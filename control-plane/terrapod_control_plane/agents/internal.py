"""Pools and agents, for other slices."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from terrapod_common import wire
from terrapod_common.agent_protocol import Code
from terrapod_control_plane.agents import queries
from terrapod_control_plane.kernel.caches import Credential
from terrapod_control_plane.kernel.context import Context, PoolSeen
from terrapod_control_plane.kernel.errors import Unauthorized
from terrapod_control_plane.kernel.policy import Actor, Scope

_SEEN_FOR = 1.0
_PLATFORM_REMEMBERED = 120.0  # seconds; an agent tells it with each beat


async def holder(fingerprint: str, now: datetime) -> Credential | None:
    """The listener that a client certificate was issued to, unless revoked or ended."""
    found = await queries.holder(fingerprint, now)
    if found is None:
        return None
    actor = Actor(
        kind="listener", id=found.id, name=found.name, pool=found.pool_id, credential=fingerprint
    )
    return Credential(actor=actor, until=found.not_after)


def online_since(ctx: Context) -> datetime:
    return ctx.now() - timedelta(seconds=ctx.settings.agents.offline_after_seconds)


async def pools_seen(ctx: Context, wanted: Sequence[str]) -> Mapping[str, PoolSeen]:
    """What pools can do now, or could a second ago, by their ids; for runs that wait for them."""
    store, seen = ctx.services.ephemeral, {}
    for id_ in wanted:
        if (found := await store.get(f"pool-seen:{id_}")) is not None:
            seen[id_] = msgspec.json.decode(found, type=PoolSeen)
    if missing := [id_ for id_ in wanted if id_ not in seen]:
        fresh = await queries.pools_seen(missing, online_since(ctx))
        for id_, pool in fresh.items():
            await store.set(f"pool-seen:{id_}", msgspec.json.encode(pool), _SEEN_FOR)
        seen |= fresh
    return seen


async def names(ctx: Context, wanted: Sequence[str]) -> Mapping[str, str]:
    """The names of agents, by their ids; for whoever may see a run that they carry out."""
    return await queries.names(wanted)


async def seen(ctx: Context, listener: str, said: wire.Heartbeat) -> None:
    """Note that an agent lives, and what it told of itself."""
    await queries.seen(listener, said, ctx.now())
    await _remember_platform(ctx, listener, said.platform)


async def platform(ctx: Context, listener: str) -> str:
    """What an agent runs on, such as ``linux_amd64``; empty when it did not tell."""
    if (known := await ctx.services.ephemeral.get(f"platform:{listener}")) is not None:
        return known.decode()
    found = await queries.listener(listener)
    told = found.platform if found else ""
    await _remember_platform(ctx, listener, told)
    return told


async def _remember_platform(ctx: Context, listener: str, platform_: str) -> None:
    await ctx.services.ephemeral.set(
        f"platform:{listener}", platform_.encode(), _PLATFORM_REMEMBERED
    )


async def must_be_welcome(ctx: Context) -> None:
    """Go on only while the certificate that the caller showed counts."""
    if await queries.holder(ctx.actor.credential, ctx.now()) is None:
        raise Unauthorized("This certificate was revoked or has ended.", code=Code.CERTIFICATE)


async def pool_scope(id_: str) -> Scope | None:
    """What permission on a pool is asked on."""
    return await queries.pool_scope(id_)


async def listener_scope(id_: str) -> Scope | None:
    """What permission on an agent is asked on."""
    return await queries.listener_scope(id_)
