"""What goes between agent and blobs for a held phase: configuration, state, artifacts, logs."""

import hashlib
from collections.abc import AsyncIterator

import anyio
import msgspec

from terrapod_common import wire
from terrapod_common.agent_protocol import Code
from terrapod_control_plane.configurations import internal as configurations
from terrapod_control_plane.kernel import db, epochs, ids
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Conflict, NotFound, Unprocessable
from terrapod_control_plane.runs import queries as runs_queries
from terrapod_control_plane.runs.holds import internal as holds
from terrapod_control_plane.runs.logs import internal as logs
from terrapod_control_plane.runs.model import Artifact, Phase
from terrapod_control_plane.runs.phases.artifacts import queries
from terrapod_control_plane.runs.phases.inputs import internal as phase_inputs
from terrapod_control_plane.runs.phases.leases import internal as leases
from terrapod_control_plane.runs.phases.leases.model import LeaseRef
from terrapod_control_plane.states import internal as states
from terrapod_control_plane.states.run_uploads import internal as run_states

_NAMES = frozenset({wire.PLAN_FILE, wire.PLAN_JSON, wire.LOCK_FILE, wire.CREATED_FILES})


async def append_log(ctx: Context, lease: LeaseRef, offset: int, data: bytes) -> wire.LogAnswer:
    """Append to the log of a held phase."""
    async with db.transaction():
        phase = leases.checked(await runs_queries.locked_phase(lease.phase), lease)
        return await logs.append(ctx, phase, offset, data)


async def configuration(ctx: Context, phase: Phase) -> AsyncIterator[bytes]:
    """The configuration archive of a held phase."""
    run = await phase_inputs.run_of(ctx, phase)
    if run.configuration_version_id is None:
        raise NotFound("This run has no configuration any more.")
    return await configurations.read(ctx, run.configuration_version_id)


async def state(ctx: Context, phase: Phase) -> AsyncIterator[bytes] | None:
    """The current state of a held phase's workspace; nothing when there never was one."""
    found = await states.read_current(ctx, phase.workspace_id)
    return found[1] if found else None


async def save_state(
    ctx: Context, phase: Phase, chunks: AsyncIterator[bytes], *, final: bool
) -> wire.StoredAnswer:
    """Store a state that an apply reached."""
    if phase.kind != "apply" or not phase.start_confirmed:
        raise Conflict(f"{phase.id} does not write state.", code=Code.WRONG_STATUS)

    async def still() -> None:
        leases.checked(await runs_queries.locked_phase(phase.id), leases.lease_of(phase))

    writer = run_states.Writer(workspace=phase.workspace_id, run=phase.run_id, still=still)
    saved = await run_states.save_from_run(ctx, writer, chunks, final=final)
    return wire.StoredAnswer(size=saved.size, digest=saved.sha256)


async def recover_state(
    ctx: Context, lease: LeaseRef, chunks: AsyncIterator[bytes]
) -> wire.StoredAnswer:
    """Store the state of an apply whose lease ended while it ran, for a person to adopt."""
    phase = await runs_queries.phase(lease.phase)
    if phase is None or phase.listener_id != lease.listener or phase.kind != "apply":
        raise NotFound(f"There is no {lease.phase} that you held.", code=Code.NOT_YOURS)
    await epochs.must_be_present(lease.fence)
    # The fence goes on when a name is taken over; what the old holder reached counts all the same.
    if lease.fence > phase.fence or phase.held:
        told = f"{phase.id} is not lost under the fence {lease.fence}."
        raise Conflict(told, code=Code.NOT_LOST)
    if phase.status == "finished" and await run_states.has_final(ctx, phase.run_id):
        raise Conflict(f"{phase.id} ended well, with its state.", code=Code.NOTHING_MORE)
    saved = await run_states.save_recovered(ctx, phase.workspace_id, phase.run_id, chunks)
    await holds.arrived(ctx, phase.run_id, phase.id)
    return wire.StoredAnswer(size=saved.size, digest=saved.sha256)


async def save_artifact(
    ctx: Context, phase: Phase, name: str, digest: str, chunks: AsyncIterator[bytes]
) -> wire.StoredAnswer:
    """Store what a plan leaves for its apply, if its digest is the announced one."""
    if name not in _NAMES or phase.kind != "plan":
        raise NotFound(f"There is no artifact {name} of {phase.id}.")
    # A key of its own: whatever comes late or wrong never meets what was approved.
    key = f"artifact/{phase.workspace_id}/{phase.id}/{name}/{ids.new('re')}"
    sha = hashlib.sha256()
    size = await ctx.services.blobs.put(key, _hashed(chunks, sha))
    doomed = key
    try:
        if sha.hexdigest() != digest:
            told = f"The body's sha256 is {sha.hexdigest()}, {digest} was announced."
            raise Unprocessable(told, code=Code.WRONG_DIGEST)
        async with db.transaction():
            before = await _publish(phase, name, Artifact(digest, size, key))
        doomed = before.key if before else ""
    finally:
        if doomed:
            with anyio.CancelScope(shield=True):
                await ctx.services.blobs.delete(doomed)
    return wire.StoredAnswer(size=size, digest=digest)


async def _publish(phase: Phase, name: str, new: Artifact) -> Artifact | None:
    locked = leases.checked(await runs_queries.locked_phase(phase.id), leases.lease_of(phase))
    kept = locked.artifacts | {name: new}
    await queries.set_artifacts(msgspec.structs.replace(locked, artifacts=kept))
    return locked.artifacts.get(name)


async def _hashed(chunks: AsyncIterator[bytes], sha: "hashlib._Hash") -> AsyncIterator[bytes]:
    async for chunk in chunks:
        sha.update(chunk)
        yield chunk


async def artifact(ctx: Context, phase: Phase, name: str) -> AsyncIterator[bytes]:
    """An artifact that the plan of a held apply left."""
    plan = await phase_inputs.plan_of(ctx, await phase_inputs.run_of(ctx, phase))
    return read_artifact(ctx, plan, name)


def read_artifact(ctx: Context, plan: Phase, name: str) -> AsyncIterator[bytes]:
    """An artifact of a plan; raises :class:`NotFound`."""
    found = plan.artifacts.get(name)
    if found is None:
        raise NotFound(f"The plan left no {name}.")
    return ctx.services.blobs.read(found.key)
