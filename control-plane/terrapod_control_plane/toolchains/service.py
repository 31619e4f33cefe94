"""Use cases of the binary cache."""

import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from typing import IO

from anyio.to_thread import run_sync
from msgspec.structs import replace

from terrapod_control_plane.kernel import db
from terrapod_control_plane.kernel.blobs.base import BlobMissing
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import NotFound, Unprocessable
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.toolchains import internal, package, queries, versions
from terrapod_control_plane.toolchains.actions import TOOL_FETCH, TOOL_MANAGE, TOOL_READ
from terrapod_control_plane.toolchains.events import ToolDeleted, ToolImported
from terrapod_control_plane.toolchains.model import LATEST, Platform, Tool

_TOOLS = ("terraform", "tofu")
_WORD = re.compile(r"[a-z0-9]{1,32}")
_PIECE = 256 * 1024


async def store(
    ctx: Context, at: Platform, chunks: AsyncIterator[bytes], digest: str | None = None
) -> Tool:
    """Import an executable, alone or in the zip archive of a release."""
    await ctx.must(TOOL_MANAGE)
    _checked(at, exact=True)
    with tempfile.TemporaryFile() as upload:
        async for chunk in chunks:
            await run_sync(upload.write, chunk)
        try:
            executable = await run_sync(package.unpacked, upload, at.tool)
        except package.BadPackage as error:
            raise Unprocessable(str(error)) from error
        with executable.file:
            if digest and digest.lower() != executable.digest:
                raise Unprocessable(f"The digest is {executable.digest}, not {digest}.")
            new = Tool(
                tool=at.tool,
                version=at.version,
                os=at.os,
                arch=at.arch,
                digest=executable.digest,
                size=executable.size,
                created_at=ctx.now(),
            )
            await ctx.services.binaries.put(new.key, _pieces(executable.file))
    await _replace(ctx, new)
    return new


async def _pieces(file: IO[bytes]) -> AsyncGenerator[bytes, None]:
    while piece := await run_sync(file.read, _PIECE):
        yield piece


async def _replace(ctx: Context, new: Tool) -> None:
    at = Platform(new.tool, new.version, new.os, new.arch)
    async with db.transaction():
        old = await queries.take(at)
        await queries.insert(new)
        await ctx.emit(
            ToolImported(
                tool=new.tool, version=new.version, os=new.os, arch=new.arch, digest=new.digest
            )
        )
    if old is not None and old.key != new.key:
        await ctx.services.binaries.delete(old.key)


def _checked(at: Platform, *, exact: bool) -> None:
    if at.tool not in _TOOLS:
        raise Unprocessable(f"The tool is one of {', '.join(_TOOLS)}, not {at.tool!r}.")
    if not versions.is_exact(at.version) and (exact or at.version != LATEST):
        raise Unprocessable(f"{at.version!r} is not a version such as 1.11.4.")
    if not _WORD.fullmatch(at.os) or not _WORD.fullmatch(at.arch):
        raise Unprocessable("os and arch are words such as linux and amd64.")


async def entries(ctx: Context, paging: Paging) -> Page[Tool]:
    """Everything in the cache."""
    await ctx.must(TOOL_READ)
    return await queries.page(paging)


async def delete(ctx: Context, tool: str, version: str) -> None:
    """Remove a version for all platforms."""
    await ctx.must(TOOL_MANAGE)
    async with db.transaction():
        removed = await queries.take_version(tool, version)
        if not removed:
            raise NotFound(f"The cache holds no {tool} {version}.")
        await ctx.emit(ToolDeleted(tool=tool, version=version))
    for entry in removed:
        await ctx.services.binaries.delete(entry.key)


async def fetch(ctx: Context, at: Platform) -> Tool:
    """The executable for a platform; `latest` is the newest there is."""
    await ctx.must(TOOL_FETCH)
    _checked(at, exact=False)
    version = at.version
    if version == LATEST:
        version = versions.newest(await queries.versions_for(at)) or version
    found = await queries.get(replace(at, version=version))
    if found is None:
        raise NotFound(
            f"The cache holds no {at.tool} {at.version} for {at.os}_{at.arch}. An administrator "
            f"can import one: terrapod cache import <file> --tool {at.tool} "
            f"--os {at.os} --arch {at.arch}"
        )
    return found


async def read(ctx: Context, token: str) -> AsyncIterator[bytes]:
    """The executable that a signed URL names."""
    key = ctx.signed(token, internal.DOWNLOAD)
    try:
        await ctx.services.binaries.size(key)
    except BlobMissing:
        raise NotFound("This executable was removed from the cache.") from None
    return ctx.services.binaries.read(key)
