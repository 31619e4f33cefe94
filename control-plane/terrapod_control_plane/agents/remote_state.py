"""What a phase reads of other workspaces: the outputs of those that share with its own."""

from terrapod_common import wire
from terrapod_control_plane.agents.handover import Held
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Forbidden, NotFound
from terrapod_control_plane.kernel.policy import Action
from terrapod_control_plane.runs.work import service as work
from terrapod_control_plane.states.service import StateVersion
from terrapod_control_plane.states.shared import service as shared
from terrapod_control_plane.workspaces.sharing import service as sharing


async def workspace(ctx: Context, held: Held, *, name: str, id_: str) -> wire.SharedWorkspace:
    """A workspace that shares its state with the phase's, by name or by id."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    phase = await work.held(ctx, *held)
    found = await sharing.sharer(ctx, phase.workspace_id, name=name, id_=id_)
    version = await shared.current(ctx, found.id)
    return wire.SharedWorkspace(
        id=found.id,
        name=found.name,
        terraform_version=found.terraform_version,
        state=None if version is None else _state(version),
    )


def _state(version: StateVersion) -> wire.SharedState:
    return wire.SharedState(
        id=version.id,
        serial=version.serial,
        lineage=version.lineage,
        terraform_version=version.terraform_version,
        created_at=f"{version.created_at:%Y-%m-%dT%H:%M:%SZ}",
    )


async def state(ctx: Context, held: Held, version_id: str) -> bytes:
    """A state that is shared with the phase's workspace, without its resources."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    return await shared.read(ctx, await _shared_version(ctx, held, version_id))


async def outputs(ctx: Context, held: Held, version_id: str) -> bytes:
    """The outputs of such a state."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    return await shared.outputs_of(ctx, await _shared_version(ctx, held, version_id))


async def output(ctx: Context, held: Held, output_id: str) -> bytes:
    """One of them, with its value."""
    await ctx.must(Action.LISTENER_ACT, held[1])
    phase = await work.held(ctx, *held)
    version = await shared.of_output(ctx, output_id)
    await _must_share(ctx, version, phase.workspace_id, output_id)
    return await shared.output(ctx, output_id)


async def _shared_version(ctx: Context, held: Held, version_id: str) -> StateVersion:
    phase = await work.held(ctx, *held)
    version = await shared.of_version(ctx, version_id)
    await _must_share(ctx, version, phase.workspace_id, version_id)
    return version


async def _must_share(ctx: Context, version: StateVersion, reader: str, asked: str) -> None:
    try:
        await sharing.sharer(ctx, reader, id_=version.workspace_id)
    except Forbidden:
        # As if it did not exist: whose it is must not show.
        raise NotFound(f"There is no {asked}.") from None
