"""Use cases of outputs."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import groupby

from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync
from msgspec.json import encode

from terrapod_control_plane.kernel import ids
from terrapod_control_plane.kernel.context import Context, internal
from terrapod_control_plane.kernel.crypto.keys import KeyRing
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.kernel.jsonapi import dump, dump_one, present
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Action, Scope, Verdict, allows
from terrapod_control_plane.states import packing
from terrapod_control_plane.states import service as states
from terrapod_control_plane.states.model import Excerpt, ParsedOutput, Readable
from terrapod_control_plane.states.outputs import queries
from terrapod_control_plane.states.outputs.schema import OutputDoc

# So many are shown beside other things; a list of their own has them all.
INCLUDED_AT_MOST = 1000
_SMALL = 64 * 1024


async def outputs(ctx: Context, id_: str, paging: Paging) -> Page[Readable]:
    """The outputs of a version; in clear for whoever may download states."""
    scope = await ctx.must(Action.STATE_READ, id_)
    version = await states.digested(ctx, await states.get(id_))
    total, clear = version.output_count or 0, _may_see(ctx, scope)
    end = min(paging.offset + paging.size, total)
    found = await _some(ctx, id_, paging.offset, end)
    return Page([_readable(*one, clear=clear) for one in found], paging, total)


async def current_outputs(ctx: Context, workspace: str) -> AsyncIterator[list[Readable]]:
    """The outputs of the present state, some at a time; sensitive ones without their values."""
    await ctx.must(Action.STATE_READ, workspace)
    found = await states.current_of(ctx, workspace)
    version = await states.digested(ctx, found) if found else None
    total = version.output_count or 0 if version else 0
    return _all(ctx, version.id if version else "", total)


async def _all(ctx: Context, version: str, total: int) -> AsyncIterator[list[Readable]]:
    for start in range(0, total, packing.IN_ONE):
        some = await _some(ctx, version, start, min(start + packing.IN_ONE, total))
        yield [_readable(*one, clear=False) for one in some]
        # The reader may take all at once; others have their turn all the same.
        await checkpoint()


async def output(ctx: Context, id_: str) -> Readable:
    """An output; in clear for whoever may download states."""
    scope = await ctx.must(Action.STATE_READ, id_)
    return _readable(*await _one(ctx, id_), clear=_may_see(ctx, scope))


@internal
async def some_outputs(ctx: Context, wanted: Sequence[str]) -> list[Readable]:
    """What `?include=` shows of the outputs that the caller may see."""
    by_version = groupby((ids.parted(id_) for id_ in wanted[:INCLUDED_AT_MOST]), lambda at: at[0])
    numbers = {version: [number for _, number in some] for version, some in by_version}
    found: list[Readable] = []
    for version in await states.visible(ctx, list(numbers)):
        first, last = min(numbers[version.id]), max(numbers[version.id])
        some = await _some(ctx, version.id, first, last + 1)
        found += [_readable(*one, clear=False) for one in some]
    return found


@internal
async def document_of_version(ctx: Context, version: str) -> bytes:
    """The outputs of a version as a document; sensitive ones without their values."""
    found = await states.digested(ctx, await states.get(version))
    texts: list[bytes] = []
    async for some in _all(ctx, version, found.output_count or 0):
        texts += [encode(dump_one(present(one, OutputDoc))) for one in some]
    return b'{"data":[' + b",".join(texts) + b"]}"


@internal
async def document(ctx: Context, id_: str) -> bytes:
    """An output with its value, as a document."""
    found = await _one(ctx, id_)
    return encode(dump(present(_readable(*found, clear=True), OutputDoc)))


@internal
async def version_of(ctx: Context, id_: str) -> str:
    """The version that an output belongs to."""
    await _one(ctx, id_)
    return ids.parted(id_)[0]


async def _one(ctx: Context, id_: str) -> tuple[str, ParsedOutput]:
    if ids.kind(id_) == "wsout":
        version, number = ids.parted(id_)
        known = await states.find(ctx, version)
        if known is not None:
            await states.digested(ctx, known)
            for found in await _some(ctx, version, number, number + 1):
                return found
    raise NotFound(f"There is no {id_}.")


def _may_see(ctx: Context, scope: Scope) -> bool:
    return allows(ctx.actor, Action.STATE_DOWNLOAD, scope) is Verdict.ALLOWED


async def _some(ctx: Context, version: str, start: int, end: int) -> list[tuple[str, ParsedOutput]]:
    """The outputs of a version from one number to another, with their ids."""
    if start >= end:
        return []
    excerpts = await queries.holding(version, start, end, packing.IN_ONE)
    open_ = partial(_opened, ctx.services.ring, version, excerpts, range(start, end))
    # Beside the loop where it takes long: every beat of an agent waits for it.
    small = sum(len(one.content) for one in excerpts) <= _SMALL
    return open_() if small else await run_sync(open_)


def _opened(
    ring: KeyRing, version: str, excerpts: Sequence[Excerpt], wanted: range
) -> list[tuple[str, ParsedOutput]]:
    return [
        (ids.part("wsout", version, number), output)
        for one in excerpts
        for number, output in enumerate(
            packing.opened(ring, version, one, ParsedOutput), start=one.first
        )
        if number in wanted
    ]


def _readable(id_: str, found: ParsedOutput, *, clear: bool) -> Readable:
    return Readable(
        id=id_,
        name=found.name,
        sensitive=found.sensitive,
        type=found.type,
        detailed_type=found.detailed_type,
        value=found.value if clear or not found.sensitive else None,
    )
