"""Variables, for other slices."""

from terrapod_common import wire
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.policy import Scope
from terrapod_control_plane.variables import queries
from terrapod_control_plane.variables.model import Variable
from terrapod_control_plane.workspaces import internal as workspaces


async def scope(id_: str) -> Scope | None:
    """A variable belongs to its workspace."""
    return await workspaces.scope_of(queries.WORKSPACE_OF, id_)


async def effective(ctx: Context, workspace: str) -> list[wire.RunVariable]:
    """The variables that a run of a workspace gets, in clear."""
    return [
        wire.RunVariable(
            key=found.key,
            value=opened(ctx, found),
            category=found.category,
            hcl=found.hcl,
            sensitive=found.sensitive,
        )
        for found in await queries.in_workspace(workspace)
    ]


def opened(ctx: Context, variable: Variable) -> str:
    return ctx.services.ring.open(variable.sealed, f"variable:{variable.id}").decode()
