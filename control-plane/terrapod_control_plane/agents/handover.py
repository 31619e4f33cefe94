"""What an agent gives and gets for a phase; each call names phase, listener and fence."""

from collections.abc import AsyncIterator

from msgspec import Struct

from terrapod_common import wire
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.policy import Action
from terrapod_control_plane.runs.recovery import service as recovery
from terrapod_control_plane.runs.transfers import service as transfers
from terrapod_control_plane.runs.work import service as work

Held = tuple[str, str, int]  # phase, listener, fence


class Named(Struct, frozen=True):
    """An artifact's name and its announced sha256."""

    name: str
    digest: str


async def report(ctx: Context, listener: str, run: str, said: wire.Report) -> wire.Reported:
    """A change of a phase."""
    await ctx.must(Action.LISTENER_ACT, listener)
    answer = await work.report(ctx, listener, run, said)
    if said.status == "applying":
        await recovery.mark_start(ctx, listener, run)
    return answer


async def append_log(ctx: Context, held: Held, offset: int, data: bytes) -> wire.LogAnswer:
    """Bytes of a log at an offset."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    return await transfers.append_log(ctx, held, offset, data)


async def configuration(ctx: Context, held: Held) -> AsyncIterator[bytes]:
    """The configuration archive."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    return await transfers.configuration(ctx, await work.held(ctx, *held))


async def state(ctx: Context, held: Held) -> AsyncIterator[bytes] | None:
    """The current state, or nothing when there never was one."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    return await transfers.state(ctx, await work.held(ctx, *held))


async def save_state(
    ctx: Context, held: Held, body: AsyncIterator[bytes], *, final: bool
) -> wire.Stored:
    """A state that the apply reached."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    return await transfers.save_state(ctx, await work.held(ctx, *held), body, final=final)


async def recover_state(ctx: Context, held: Held, body: AsyncIterator[bytes]) -> wire.Stored:
    """The state of an apply whose lease ended while it ran."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    return await transfers.recover_state(ctx, held, body)


async def late_log(ctx: Context, held: Held, offset: int, data: bytes) -> wire.LogAnswer:
    """The rest of the log of an apply that was given up."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    return await work.late_log(ctx, held, offset, data)


async def late_result(ctx: Context, held: Held, said: wire.Late) -> wire.Taken:
    """What became of an apply that was given up."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    return await work.late_result(ctx, held, said)


async def save_artifact(
    ctx: Context, held: Held, named: Named, body: AsyncIterator[bytes]
) -> wire.Stored:
    """Something the plan leaves for its apply."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    phase = await work.held(ctx, *held)
    return await transfers.save_artifact(ctx, phase, named.name, named.digest, body)


async def artifact(ctx: Context, held: Held, name: str) -> AsyncIterator[bytes]:
    """What the plan of this apply left."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    return await transfers.artifact(ctx, await work.held(ctx, *held), name)
