"""Use cases of outputs."""

from collections.abc import Sequence

import msgspec
from anyio.to_thread import run_sync

from terrapod_common.errors import NotFound
from terrapod_common.jsonapi import dump, present
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Action, Scope, Verdict, allows
from terrapod_control_plane.states import service as states
from terrapod_control_plane.states.model import Output, Readable
from terrapod_control_plane.states.outputs import queries
from terrapod_control_plane.states.outputs.schema import OutputDoc


async def outputs(ctx: Context, id_: str, paging: Paging) -> Page[Readable]:
    """The outputs of a version; in clear for whoever may download states."""
    scope = await ctx.must(Action.STATE_READ, id_)
    found = await queries.outputs_of([id_])
    part = found[paging.offset : paging.offset + paging.size]
    clear = _may_see(ctx, scope)
    shown = [_readable(ctx, one, masked=one.sensitive and not clear) for one in part]
    return Page(shown, paging, len(found))


async def current_outputs(ctx: Context, workspace: str) -> list[Readable]:
    """The outputs of the present state; sensitive ones without their values."""
    await ctx.must(Action.STATE_READ, workspace)
    found = await states.current_of(ctx, workspace)
    of = await queries.outputs_of([found.id]) if found else []
    return [_readable(ctx, output, masked=output.sensitive) for output in of]


async def output(ctx: Context, id_: str) -> Readable:
    """An output; in clear for whoever may download states."""
    scope = await ctx.must(Action.STATE_READ, id_)
    found = await _found(id_)
    return _readable(ctx, found, masked=found.sensitive and not _may_see(ctx, scope))


@internal
async def some_outputs(ctx: Context, wanted: Sequence[str]) -> list[Readable]:
    """What `?include=` shows of the outputs that the caller may see."""
    found = await queries.outputs(wanted)
    seen = {one.id for one in await states.visible(ctx, [o.state_version_id for o in found])}
    return [
        _readable(ctx, output, masked=output.sensitive)
        for output in found
        if output.state_version_id in seen
    ]


@internal
async def document_of_version(ctx: Context, version: str) -> bytes:
    """The outputs of a version as a document; sensitive ones without their values."""
    found = await queries.outputs_of([version])

    def written() -> bytes:
        readable = (_readable(ctx, output, masked=output.sensitive) for output in found)
        return msgspec.json.encode(dump([present(one, OutputDoc) for one in readable]))

    return await run_sync(written)  # there may be very many


@internal
async def document(ctx: Context, id_: str) -> bytes:
    """An output with its value, as a document."""
    return msgspec.json.encode(dump(present(_readable(ctx, await _found(id_)), OutputDoc)))


@internal
async def version_of(ctx: Context, id_: str) -> str:
    """The version that an output belongs to."""
    return (await _found(id_)).state_version_id


async def _found(id_: str) -> Output:
    found = await queries.output(id_)
    if found is None:
        raise NotFound(f"There is no {id_}.")
    return found


def _may_see(ctx: Context, scope: Scope) -> bool:
    return allows(ctx.actor, Action.STATE_DOWNLOAD, scope) is Verdict.ALLOWED


def _readable(ctx: Context, found: Output, *, masked: bool = False) -> Readable:
    value = None
    if not masked:
        # As it stands in the state: numbers may be larger than any of ours.
        plain = ctx.parts.ring.open(found.sealed, f"output:{found.id}")
        value = msgspec.Raw(plain.decode(errors="replace").encode())
    return Readable(
        id=found.id,
        name=found.name,
        sensitive=found.sensitive,
        type=found.type,
        detailed_type=found.detailed_type,
        value=value,
    )
