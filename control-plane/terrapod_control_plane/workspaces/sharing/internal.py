"""Who reads whose state, for other slices."""

from terrapod_common.agent_protocol import Code
from terrapod_control_plane.kernel.context import Context
from terrapod_control_plane.kernel.errors import Forbidden
from terrapod_control_plane.workspaces import internal as workspaces
from terrapod_control_plane.workspaces.model import Workspace
from terrapod_control_plane.workspaces.sharing import queries

_LONGEST_NAME = 90


async def sharer(ctx: Context, reader: str, *, name: str = "", id_: str = "") -> Workspace:
    """A workspace whose state a run of the reader may read, by its name or else by its id.

    One that is not shared and one that is not there are refused alike.
    """
    by_name = queries.sharer_by_name(name, reader) if name else queries.sharer_by_id(id_, reader)
    if (found := await by_name) is not None:
        return found
    asking, sought = (await workspaces.get(ctx, reader)).name, (name or id_)[:_LONGEST_NAME]
    raise Forbidden(
        f"The workspace {sought} does not share its state with {asking}, or does not exist. "
        f"Whoever administers {sought} can share it: set its global-remote-state, or add "
        f"{asking} to its remote-state-consumers.",
        code=Code.NOT_SHARED,
    )
