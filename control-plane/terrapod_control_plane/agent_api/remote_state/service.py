"""What a phase reads of other workspaces: the outputs of those that share with its own."""

from terrapod_common import wire
from terrapod_control_plane.agents.actions import LISTENER_ACT
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Forbidden, NotFound
from terrapod_control_plane.runs.phases.leases import internal as leases
from terrapod_control_plane.runs.phases.leases.model import LeaseRef
from terrapod_control_plane.states.model import StateVersion
from terrapod_control_plane.states.shared import internal as shared_states
from terrapod_control_plane.workspaces.sharing import internal as sharing


async def workspace(ctx: Context, lease: LeaseRef, *, name: str, id_: str) -> wire.SharedWorkspace:
    """A workspace that shares its state with the phase's, by name or by id."""
    await ctx.must(LISTENER_ACT, lease.listener)
    phase = await leases.held(ctx, lease)
    found = await sharing.sharer(ctx, phase.workspace_id, name=name, id_=id_)
    current = await shared_states.current(ctx, found.id)
    return wire.SharedWorkspace(
        id=found.id,
        name=found.name,
        terraform_version=found.terraform_version,
        state=None if current is None else _state(current),
    )


def _state(found: StateVersion) -> wire.SharedState:
    return wire.SharedState(
        id=found.id,
        serial=found.serial,
        lineage=found.lineage,
        terraform_version=found.terraform_version,
        created_at=f"{found.created_at:%Y-%m-%dT%H:%M:%SZ}",
    )


async def state(ctx: Context, lease: LeaseRef, version_id: str) -> bytes:
    """A state that is shared with the phase's workspace, without its resources."""
    await ctx.must(LISTENER_ACT, lease.listener)
    return await shared_states.read(ctx, await _shared_version(ctx, lease, version_id))


async def version(ctx: Context, lease: LeaseRef, version_id: str) -> str:
    """The id of such a state, whose outputs may be shown then."""
    await ctx.must(LISTENER_ACT, lease.listener)
    return (await _shared_version(ctx, lease, version_id)).id


async def output(ctx: Context, lease: LeaseRef, output_id: str) -> str:
    """The id of one of its outputs, which may be shown then."""
    await ctx.must(LISTENER_ACT, lease.listener)
    phase = await leases.held(ctx, lease)
    found = await shared_states.of_output(ctx, output_id)
    await _must_share(ctx, found, phase.workspace_id, output_id)
    return output_id


async def _shared_version(ctx: Context, lease: LeaseRef, version_id: str) -> StateVersion:
    phase = await leases.held(ctx, lease)
    found = await shared_states.of_version(ctx, version_id)
    await _must_share(ctx, found, phase.workspace_id, version_id)
    return found


async def _must_share(ctx: Context, version: StateVersion, reader: str, asked: str) -> None:
    try:
        await sharing.sharer(ctx, reader, id_=version.workspace_id)
    except Forbidden:
        # As if it did not exist: whose it is must not show.
        raise NotFound(f"There is no {asked}.") from None
