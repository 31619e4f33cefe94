"""Outputs as documents."""

from msgspec.json import encode

from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.jsonapi import dump, dump_one, present
from terrapod_control_plane.states import internal as states
from terrapod_control_plane.states.outputs.internal import find, pieces, readable
from terrapod_control_plane.states.outputs.schema import OutputDoc


async def document_of_version(ctx: Context, version: str) -> bytes:
    """The outputs of a version as a document; sensitive ones without their values."""
    found = await states.digested(ctx, await states.get(version))
    texts: list[bytes] = []
    async for some in pieces(ctx, version, found.output_count or 0):
        texts += [encode(dump_one(present(one, OutputDoc))) for one in some]
    return b'{"data":[' + b",".join(texts) + b"]}"


async def document(ctx: Context, id_: str) -> bytes:
    """An output with its value, as a document."""
    found = await find(ctx, id_)
    return encode(dump(present(readable(*found, clear=True), OutputDoc)))
