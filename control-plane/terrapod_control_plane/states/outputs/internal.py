"""Outputs, for other slices."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import groupby

from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from terrapod_control_plane.kernel import ids
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.crypto.keys import KeyRing
from terrapod_control_plane.kernel.errors import NotFound
from terrapod_control_plane.states import internal as states
from terrapod_control_plane.states import packing
from terrapod_control_plane.states.model import Excerpt, ParsedOutput, ReadableOutput
from terrapod_control_plane.states.outputs import queries

# So many are shown beside other things; a list of their own has them all.
INCLUDED_AT_MOST = 1000


_SMALL = 64 * 1024


async def pieces(ctx: Context, version: str, total: int) -> AsyncIterator[list[ReadableOutput]]:
    """The outputs of a version, some at a time."""
    for start in range(0, total, packing.IN_ONE):
        found = await numbered(ctx, version, start, min(start + packing.IN_ONE, total))
        yield [readable(*one, clear=False) for one in found]
        # The reader may take all at once; others have their turn all the same.
        await checkpoint()


async def some_outputs(ctx: Context, wanted: Sequence[str]) -> list[ReadableOutput]:
    """What `?include=` shows of the outputs that the caller may see."""
    by_version = groupby((ids.parted(id_) for id_ in wanted[:INCLUDED_AT_MOST]), lambda at: at[0])
    numbers = {version: [number for _, number in some] for version, some in by_version}
    found: list[ReadableOutput] = []
    for version in await states.visible(ctx, list(numbers)):
        first, last = min(numbers[version.id]), max(numbers[version.id])
        some = await numbered(ctx, version.id, first, last + 1)
        found += [readable(*one, clear=False) for one in some]
    return found


async def version_of(ctx: Context, id_: str) -> str:
    """The version that an output belongs to."""
    await find(ctx, id_)
    return ids.parted(id_)[0]


async def find(ctx: Context, id_: str) -> tuple[str, ParsedOutput]:
    """An output by its id, with the id."""
    if ids.kind(id_) == "wsout":
        version, number = ids.parted(id_)
        known = await states.find(ctx, version)
        if known is not None:
            await states.digested(ctx, known)
            for found in await numbered(ctx, version, number, number + 1):
                return found
    raise NotFound(f"There is no {id_}.")


async def numbered(
    ctx: Context, version: str, start: int, end: int
) -> list[tuple[str, ParsedOutput]]:
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


def readable(id_: str, found: ParsedOutput, *, clear: bool) -> ReadableOutput:
    """An output as it is shown; a sensitive one with its value only when it may be seen."""
    return ReadableOutput(
        id=id_,
        name=found.name,
        sensitive=found.sensitive,
        type=found.type,
        detailed_type=found.detailed_type,
        value=found.value if clear or not found.sensitive else None,
    )
