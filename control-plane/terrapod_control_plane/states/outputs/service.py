"""Use cases of outputs."""

from collections.abc import AsyncIterator

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Scope, Verdict, allows
from terrapod_control_plane.states import internal as states
from terrapod_control_plane.states.model import ReadableOutput
from terrapod_control_plane.states.outputs import internal
from terrapod_control_plane.workspaces.actions import STATE_DOWNLOAD, STATE_READ


async def outputs(ctx: Context, id_: str, paging: Paging) -> Page[ReadableOutput]:
    """The outputs of a version; in clear for whoever may download states."""
    scope = await ctx.must(STATE_READ, id_)
    version = await states.digested(ctx, await states.get(id_))
    total, clear = version.output_count or 0, _may_see(ctx, scope)
    end = min(paging.offset + paging.size, total)
    found = await internal.numbered(ctx, id_, paging.offset, end)
    return Page([internal.readable(*one, clear=clear) for one in found], paging, total)


async def current_outputs(ctx: Context, workspace: str) -> AsyncIterator[list[ReadableOutput]]:
    """The outputs of the present state, some at a time; sensitive ones without their values."""
    await ctx.must(STATE_READ, workspace)
    found = await states.current_of(ctx, workspace)
    version = await states.digested(ctx, found) if found else None
    total = version.output_count or 0 if version else 0
    return internal.pieces(ctx, version.id if version else "", total)


async def output(ctx: Context, id_: str) -> ReadableOutput:
    """An output; in clear for whoever may download states."""
    scope = await ctx.must(STATE_READ, id_)
    return internal.readable(*await internal.find(ctx, id_), clear=_may_see(ctx, scope))


def _may_see(ctx: Context, scope: Scope) -> bool:
    return allows(ctx.actor, STATE_DOWNLOAD, scope) is Verdict.ALLOWED
