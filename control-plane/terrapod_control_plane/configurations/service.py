"""Use cases of configuration versions."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import anyio
from anyio import from_thread, to_thread
from msgspec.structs import replace

from terrapod_control_plane.configurations import internal, queries
from terrapod_control_plane.configurations.archive import BadArchive, Bounds, check
from terrapod_control_plane.configurations.checking import Checking
from terrapod_control_plane.configurations.events import (
    ConfigurationCreated,
    ConfigurationErrored,
    ConfigurationUploaded,
)
from terrapod_control_plane.configurations.model import Configuration, NewConfiguration
from terrapod_control_plane.kernel import db, ids
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, Unprocessable
from terrapod_control_plane.kernel.pages import Page, Paging
from terrapod_control_plane.kernel.policy import Action
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.actions import (
    CONFIGURATION_READ,
    CONFIGURATION_SPECULATE,
    CONFIGURATION_WRITE,
)

_DOWNLOAD = "configuration-download"
_DOWNLOAD_FOR = timedelta(minutes=10)
_checks = anyio.CapacityLimiter(4)  # beside the threads of the blobs, which never wait for these


async def create(ctx: Context, workspace: str, wanted: NewConfiguration) -> Configuration:
    """A place for an upload."""
    await ctx.must(_needed(wanted), workspace)
    now = ctx.now()
    new = Configuration(
        id=ids.new("cv"),
        workspace_id=workspace,
        created_by=ctx.actor.id or None,
        created_at=now,
        speculative=wanted.speculative,
        provisional=wanted.provisional,
        auto_queue_runs=wanted.auto_queue_runs,
        status_timestamps={"queued-at": internal.timestamp(now)},
    )
    async with db.transaction():
        await queries.insert(new)
        await ctx.emit(
            ConfigurationCreated(
                configuration=new.id, workspace=workspace, speculative=new.speculative
            )
        )
    return new


def _needed(wanted: NewConfiguration) -> Action:
    # What is only planned needs less than what can be applied.
    return CONFIGURATION_SPECULATE if wanted.speculative else CONFIGURATION_WRITE


async def show(ctx: Context, id_: str) -> Configuration:
    """A configuration."""
    await ctx.must(CONFIGURATION_READ, id_)
    return await internal.get(ctx, id_)


async def of_workspace(ctx: Context, workspace: str, paging: Paging) -> Page[Configuration]:
    """The configurations of a workspace, newest first."""
    await ctx.must(CONFIGURATION_READ, workspace)
    return await queries.of_workspace(workspace, paging)


async def download_url(ctx: Context, id_: str) -> str:
    """Where the archive can be read for a while; the URL is the credential."""
    await ctx.must(CONFIGURATION_READ, id_)
    await internal.uploaded(ctx, id_)
    token = ctx.services.signer.sign(_DOWNLOAD, id_, _DOWNLOAD_FOR)
    return f"{ctx.base_url}/api/v2/configuration-downloads/{token}"


async def download(ctx: Context, token: str) -> AsyncIterator[bytes]:
    """The archive that a signed URL names."""
    id_ = ctx.signed(token, _DOWNLOAD)
    return await internal.read(ctx, id_)


async def upload(ctx: Context, token: str, chunks: AsyncIterator[bytes]) -> Configuration:
    """Store an archive and check it; until both are done the configuration is pending."""
    id_ = ctx.signed(token, internal.UPLOAD)
    await _pending(ctx, id_)
    async with _claimed(ctx, id_):
        # Again, since another upload may have ended before the claim.
        return await _store(ctx, await _pending(ctx, id_), chunks)


@asynccontextmanager
async def _claimed(ctx: Context, id_: str) -> AsyncIterator[None]:
    # A second upload at the same time must not replace what the first one finishes.
    key = f"configuration-upload:{id_}"
    lifetime = timedelta(hours=ctx.settings.configurations.upload_hours)
    if await ctx.services.ephemeral.add(key, 1, lifetime.total_seconds()) > 1:
        raise Conflict(f"{id_} is being uploaded already.")
    try:
        yield
    finally:
        with anyio.move_on_after(2, shield=True):
            await ctx.services.ephemeral.take(key)


async def _store(
    ctx: Context, pending: Configuration, chunks: AsyncIterator[bytes]
) -> Configuration:
    problem = ""
    with Checking(_bounds(ctx)) as checking:
        try:
            await ctx.services.blobs.put(pending.key, chunks, checking)
        except BadArchive as error:
            problem = str(error)
    if not (problem or checking.checked):
        problem = await _problem(ctx, pending, checking.size)
    moment = "errored-at" if problem else "finished-at"
    checked = replace(
        pending,
        status="errored" if problem else "uploaded",
        error_message=problem,
        size=checking.size,
        digest=checking.sha256,
        status_timestamps=pending.status_timestamps | {moment: internal.timestamp(ctx.now())},
    )
    await _settle(ctx, checked)
    if problem:
        await ctx.services.blobs.delete(pending.key)
        raise Unprocessable(problem)
    return checked


async def _pending(ctx: Context, id_: str) -> Configuration:
    found = await internal.get(ctx, id_)
    if found.status != "pending":
        raise Conflict(f"{id_} was uploaded already: it is {found.status}.")
    return found


def _bounds(ctx: Context) -> Bounds:
    limits = ctx.settings.configurations
    return Bounds(
        bytes_at_most=limits.unpacked_bytes_at_most,
        files_at_most=limits.files_at_most,
        ratio_at_most=limits.ratio_at_most,
        ratio_free_bytes=limits.ratio_free_bytes,
    )


async def _problem(ctx: Context, stored: Configuration, size: int) -> str:
    async with aclosing(ctx.services.blobs.read(stored.key)) as stream:
        try:
            await to_thread.run_sync(
                check, _Pulled(stream), lambda _: size, _bounds(ctx), limiter=_checks
            )
        except BadArchive as error:
            return str(error)
    return ""


class _Pulled:
    """An asynchronous stream as the file that a worker thread reads."""

    def __init__(self, stream: AsyncGenerator[bytes, None]) -> None:
        self._stream = stream
        self._waiting = b""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        if not self._waiting:
            self._waiting = from_thread.run(self._next)
        cut = len(self._waiting) if size < 0 else size
        piece, self._waiting = self._waiting[:cut], self._waiting[cut:]
        return piece

    async def _next(self) -> bytes:
        return await anext(self._stream, b"")


async def _settle(ctx: Context, checked: Configuration) -> None:
    about = {"configuration": checked.id, "workspace": checked.workspace_id}
    async with db.transaction():
        current = await queries.lock(checked.id)
        if current is None or current.status != "pending":
            raise Conflict(f"{checked.id} was uploaded by somebody else, or is gone.")
        await queries.save(checked)
        if checked.status == "errored":
            await ctx.emit(ConfigurationErrored(**about, message=checked.error_message))
            return
        if not (checked.speculative or checked.provisional):
            await workspaces.set_current_configuration(ctx, checked.workspace_id, checked.id)
        await ctx.emit(
            ConfigurationUploaded(
                **about,
                speculative=checked.speculative,
                provisional=checked.provisional,
                auto_queue_runs=checked.auto_queue_runs,
                created_by=checked.created_by,
                digest=checked.digest,
            )
        )
